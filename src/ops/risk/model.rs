//! How likely a shelf loses data within a year, by a model of disks that die and are rebuilt.
//!
//! Disks die independently at a constant rate. A disk that died is replaced and rebuilt in a time that is distributed
//! exponentially about its mean; several are rebuilt beside one another. Data is lost when one disk more is gone than
//! there is parity. The number of dead disks is then a Markov chain in continuous time, whose probability of having
//! been absorbed within a year is computed by uniformisation (Jensen 1953), to the last bits. With two parity packs
//! or more exponential times are the careful side: with the same mean, a fixed time leaves fewer disks dead at once.
//! With one the two are alike while losses are rare.
//!
//! Beside that, *latent errors*: sectors that cannot be read and that nobody has noticed since the last scrub. While as
//! many disks are dead as there is parity, each of them costs the unit of 1 MiB that it lies in.
//!
//! What it leaves out: disks that die together (heat, power, one batch), mistakes, and software. `docs/RELIABILITY.md`
//! says what they are worth beside these numbers.

/// A shelf, and how its disks behave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    pub disks: u32,
    /// Packs of data in a group.
    pub width: u32,
    pub parity: u32,
    /// Of a disk, stored bytes.
    pub disk_bytes: u64,
    /// Annualised failure rate: the share of disks that die in a year.
    pub failure_rate: f64,
    /// Hours until a dead disk is noticed and replaced.
    pub response_hours: f64,
    /// Bytes a second at which a disk is rebuilt.
    pub rebuild_bytes_per_second: f64,
    /// New latent errors of a disk in a year.
    pub latent_errors: f64,
    /// Days between two scrubs of a disk.
    pub scrub_days: f64,
}

impl Default for Model {
    /// 24 disks of 20 TB; one in seventy dies in a year (Backblaze, drive statistics of 2013 to 2024: 1.4 %); a tenth of a
    /// latent error a year (Bairavasundaram et al., SIGMETRICS 2007, of nearline disks: 9.5 % have one within 12 months).
    fn default() -> Self {
        Model {
            disks: 24,
            width: 8,
            parity: 2,
            disk_bytes: 20_000_000_000_000,
            failure_rate: 0.014,
            response_hours: 24.0,
            rebuild_bytes_per_second: 150e6,
            latent_errors: 0.1,
            scrub_days: 30.0,
        }
    }
}

/// What a year holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Hours from a disk's death until it is rebuilt.
    pub repair_hours: f64,
    /// Probability that more disks are dead at once than there is parity.
    pub loss: f64,
    /// Share of the stored data that is lost then.
    pub share_lost: f64,
    /// Probability that a latent error costs a unit, though not too many disks died.
    pub latent: f64,
}

const HOURS_A_YEAR: f64 = 8766.0;

impl Model {
    /// Hours from a disk's death until it is rebuilt.
    pub fn repair_hours(&self) -> f64 {
        self.response_hours + self.disk_bytes as f64 / self.rebuild_bytes_per_second / 3600.0
    }

    /// Deaths of one disk in an hour.
    fn death_rate(&self) -> f64 {
        -(1.0 - self.failure_rate).ln() / HOURS_A_YEAR
    }

    /// Forecasts a year that begins with all disks well.
    pub fn forecast(&self) -> Forecast {
        let (n, m) = (f64::from(self.disks), self.parity as usize);
        let (death, repair) = (self.death_rate(), 1.0 / self.repair_hours());
        // State f: f disks are dead. State m + 1 is the loss.
        let rate_up = |f: usize| (n - f as f64).max(0.0) * death;
        let rate_down = |f: usize| f as f64 * repair;
        let fastest = (0..=m).map(|f| rate_up(f) + rate_down(f)).fold(f64::MIN_POSITIVE, f64::max);
        let mut now = vec![0.0; m + 2];
        now[0] = 1.0; // m + 2 states, two at least
        let jumps = fastest * HOURS_A_YEAR;
        // Poisson weights from their peak outwards would matter only for far longer times: exp(-jumps) is kept as a logarithm.
        let (mut loss, mut at_edge, mut log_weight) = (0.0, 0.0, -jumps);
        let last = (jumps + 12.0 * jumps.sqrt() + 60.0) as u64;
        let mut tail = 1.0;
        for k in 0..=last {
            if k > 0 {
                log_weight += (jumps / k as f64).ln();
            }
            let weight = log_weight.exp();
            loss += weight * now[m + 1]; // the last state
            tail -= weight;
            // The time spent in state m: the sum over jumps of the probability to be there, times a mean stay.
            at_edge += now[m] * tail.max(0.0) / fastest;
            let mut next = vec![0.0; m + 2];
            next[m + 1] = now[m + 1];
            for f in 0..=m {
                let (up, down) = (rate_up(f) / fastest, rate_down(f) / fastest);
                next[f + 1] += now[f] * up; // f + 1 <= m + 1
                if f > 0 {
                    next[f - 1] += now[f] * down;
                }
                next[f] += now[f] * (1.0 - up - down);
            }
            now = next;
        }
        // Latent errors on the disks that are left, half a scrub's interval old on average, when the edge is reached; and such
        // as come while it lasts.
        let entries = if m == 0 { 1.0 } else { at_edge * (rate_down(m) + rate_up(m)) };
        let hidden = self.latent_errors * self.scrub_days / 365.25 / 2.0;
        let while_there = at_edge * self.latent_errors / HOURS_A_YEAR;
        let latent = (n - m as f64) * (entries * hidden + while_there) * self.share_of_groups(m as u32);
        Forecast {
            repair_hours: self.repair_hours(),
            loss: loss.clamp(0.0, 1.0),
            share_lost: self.share_lost(),
            latent: 1.0 - (-latent).exp(),
        }
    }

    /// Of the groups that a pack's disk is in, the share that `dead` other disks are all in, too.
    fn share_of_groups(&self, dead: u32) -> f64 {
        let members = f64::from((self.width + self.parity).min(self.disks));
        (0..dead).fold(1.0, |share, i| {
            let i = f64::from(i);
            share * (members - 1.0 - i).max(0.0) / (f64::from(self.disks) - 1.0 - i).max(1.0)
        })
    }

    /// When m + 1 disks are gone: the share of all data that lay on them in groups that hold them all.
    fn share_lost(&self) -> f64 {
        f64::from(self.parity + 1) / f64::from(self.disks) * self.share_of_groups(self.parity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plain generator (SplitMix64), so that a run can be repeated.
    struct Chance(u64);

    impl Chance {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        }

        fn exponential(&mut self, mean: f64) -> f64 {
            -mean * (1.0 - self.uniform()).ln()
        }
    }

    /// Plays years disk by disk, and counts those that end in a loss.
    fn played(model: &Model, years: u32, fixed: bool, seed: u64) -> f64 {
        let mut chance = Chance(seed);
        let (life, repair) = (1.0 / model.death_rate(), model.repair_hours());
        let mut losses = 0;
        for _ in 0..years {
            // when each disk changes next, and whether it is dead
            let mut disks: Vec<(f64, bool)> = (0..model.disks).map(|_| (chance.exponential(life), false)).collect();
            loop {
                let i = (0..disks.len()).min_by(|a, b| disks[*a].0.total_cmp(&disks[*b].0)).unwrap();
                let (at, dead) = disks[i];
                if at > HOURS_A_YEAR {
                    break;
                }
                let stay = match (dead, fixed) {
                    (true, _) => chance.exponential(life),
                    (false, true) => repair,
                    (false, false) => chance.exponential(repair),
                };
                disks[i] = (at + stay, !dead);
                if disks.iter().filter(|d| d.1).count() > model.parity as usize {
                    losses += 1;
                    break;
                }
            }
        }
        f64::from(losses) / f64::from(years)
    }

    /// Disks that die far more often than real ones, so that losses can be counted.
    fn poor(parity: u32) -> Model {
        Model { disks: 12, parity, failure_rate: 0.3, response_hours: 200.0, ..Default::default() }
    }

    #[test]
    fn the_model_agrees_with_years_that_are_played() {
        for parity in 0..=3 {
            let model = poor(parity);
            let (told, years) = (model.forecast().loss, 40_000);
            let counted = played(&model, years, false, 7 + u64::from(parity));
            let spread = (told * (1.0 - told) / f64::from(years)).sqrt();
            assert!((told - counted).abs() < 4.0 * spread + 1e-4, "m = {parity}: told {told}, counted {counted}");
            if parity > 1 {
                let fixed = played(&model, years, true, 99);
                assert!(fixed < told + 4.0 * spread, "m = {parity}: fixed times lose {fixed}, told {told}");
            }
        }
    }

    #[test]
    fn more_parity_and_faster_repair_lose_less() {
        let loss = |parity, response_hours| Model { parity, response_hours, ..Default::default() }.forecast().loss;
        for parity in 0..4 {
            assert!(loss(parity + 1, 24.0) < loss(parity, 24.0) / 5.0);
            assert!(parity == 0 || loss(parity, 24.0) < loss(parity, 240.0));
        }
        let none = loss(0, 24.0);
        let plain = 1.0 - (1.0f64 - 0.014).powi(24);
        assert!((none - plain).abs() < 1e-9, "without parity any death is a loss: {none}, {plain}");
    }

    /// The figures of `docs/RELIABILITY.md`.
    #[test]
    fn figures_in_the_document() {
        let figures: Vec<String> = (0..=4)
            .map(|parity| {
                let f = Model { parity, ..Default::default() }.forecast();
                format!("{parity} {:.1e} {:.1e} {:.1e}", f.loss, f.share_lost, f.latent)
            })
            .collect();
        let document = include_str!("../../../docs/RELIABILITY.md");
        for figure in figures {
            let row: Vec<&str> = figure.split(' ').collect();
            let row = format!("| {} |", row.join(" | "));
            assert!(document.contains(&row), "the document lacks {row}");
        }
    }
}
