//! The fuzz targets' bodies over the inputs that were kept (`fuzz/corpus/TARGET/`): what fuzzing found once, and what
//! reaches most of the code.

#[path = "../fuzz/bodies.rs"]
pub mod bodies;

use std::fs;
use std::path::Path;

#[test]
fn kept_inputs_end_well() {
    for (name, target) in bodies::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut inputs = 0;
        for file in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = file.unwrap().path();
            println!("{}", path.display()); // told if it panics
            target(&fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has no inputs");
        target(b"");
    }
}
