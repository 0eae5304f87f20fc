//! A schedule repeats by its seed, reaches different orders, and finds threads that wait for each other.

use super::*;
use std::collections::BTreeSet;
use std::sync::Arc;

fn with<T>(seed: u64, f: impl FnOnce() -> T) -> T {
    simulate(Schedule { seed, parallelism: 2, pauses: 2 }, f)
}

/// Three threads that write their names through a lock and a queue of one place.
fn order(seed: u64) -> Vec<u32> {
    with(seed, || {
        let (send, receive) = bounded(1);
        let all = Mutex::new(Vec::new());
        scope(|scope| {
            for name in 0..3 {
                let (send, all) = (send.clone(), &all);
                scope.spawn(move || {
                    for step in 0..3 {
                        all.lock().unwrap().push(name * 10 + step);
                        pause();
                        send.send(100 + name).unwrap();
                    }
                });
            }
            drop(send);
            for got in receive.iter() {
                all.lock().unwrap().push(got);
            }
        });
        all.into_inner().unwrap()
    })
}

#[test]
fn one_seed_is_one_order_and_others_are_others() {
    let orders: BTreeSet<Vec<u32>> = (0..50).map(order).collect();
    assert!(orders.len() > 20, "only {} orders of 50 seeds", orders.len());
    for seed in 0..50 {
        assert_eq!(order(seed), order(seed), "seed {seed}");
    }
    assert!(orders.iter().all(|o| o.len() == 18));
}

#[test]
fn outside_of_a_simulation_all_is_as_ever() {
    assert!(!is_simulated());
    let (send, receive) = bounded(1);
    let count = Mutex::new(0);
    let freed = Condvar::new();
    scope(|scope| {
        let worker = scope.spawn(|| {
            for n in receive.iter() {
                *count.lock().unwrap() += n;
                freed.notify_all();
            }
        });
        for n in 0..100 {
            send.send(n).unwrap();
        }
        let mut sum = count.lock().unwrap();
        while *sum < 4950 {
            sum = freed.wait(sum).unwrap();
        }
        drop(sum);
        drop(send);
        worker.join().unwrap();
    });
    assert_eq!(*count.lock().unwrap(), 4950);
}

#[test]
fn waiting_by_condition_goes_on_when_it_is_told() {
    for seed in 0..50 {
        let room = with(seed, || {
            let (used, freed) = (Mutex::new(3), Condvar::new());
            scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..3 {
                        pause();
                        *used.lock().unwrap() -= 1;
                        freed.notify_all();
                    }
                });
                let mut left = used.lock().unwrap();
                while *left > 0 {
                    left = freed.wait(left).unwrap();
                }
            });
            used.into_inner().unwrap()
        });
        assert_eq!(room, 0);
    }
}

#[test]
fn threads_that_wait_for_each_other_are_found() {
    let outcome = std::panic::catch_unwind(|| {
        with(1, || {
            let (to_b, from_a) = bounded::<u8>(1);
            let (to_a, from_b) = bounded::<u8>(1);
            scope(|scope| {
                scope.spawn(move || {
                    let _ = from_a.recv();
                    let _ = to_a.send(1);
                });
                let _ = from_b.recv();
                let _ = to_b.send(1);
            });
        })
    });
    assert!(outcome.is_err());
    assert!(!is_simulated());
}

#[test]
fn a_panic_ends_its_thread_and_no_other() {
    for seed in 0..20 {
        let (joined, got) = with(seed, || {
            let (send, receive) = unbounded();
            scope(|scope| {
                let panics = scope.spawn(|| {
                    pause();
                    panic!("on purpose");
                });
                scope.spawn(move || send.send(7));
                let got = receive.recv();
                (panics.join().is_err(), got)
            })
        });
        assert_eq!((joined, got), (true, Ok(7)));
    }
}

#[test]
fn time_passes_only_when_nobody_else_can_go_on() {
    with(3, || {
        let (send, receive) = bounded::<u8>(1);
        let far = Duration::from_secs(1_000_000);
        assert_eq!(receive.recv_timeout(far), Err(RecvTimeoutError::Timeout));
        scope(|scope| {
            scope.spawn(move || {
                pause();
                send.send(1)
            });
            assert_eq!(receive.recv_timeout(Duration::ZERO), Ok(1));
        });
        assert_eq!(receive.recv_timeout(far), Err(RecvTimeoutError::Disconnected));
    });
}

#[test]
fn either_queue_is_heard_and_so_is_its_end() {
    for seed in 0..30 {
        with(seed, || {
            let (a, first) = bounded(4);
            let (b, second) = bounded(4);
            let keep = Arc::new(a);
            scope(|scope| {
                let a = Arc::clone(&keep);
                scope.spawn(move || a.send(1));
                scope.spawn(move || b.send(2));
                let mut got = BTreeSet::new();
                loop {
                    match recv_either(&first, &second) {
                        Either::First(Ok(n)) | Either::Second(Ok(n)) => got.insert(n),
                        Either::Second(Err(RecvError)) => break,
                        Either::First(Err(e)) => panic!("the first queue is still open: {e}"),
                    };
                }
                got.extend(first.try_recv());
                assert!(got.contains(&2));
            });
        });
    }
}
