//! Small scripts, each named for a fault it once showed or guards against: on every engine, in every
//! bounds mode. A `.wat` file must load and instantiate; a `.wast` file must pass.

use std::path::Path;

use aura_runtime::Strategy;
use aura_spec_tests::suite::scripts_below;
use aura_spec_tests::{Edition, Mode, ScriptSource, Suite};

fn sources() -> Vec<ScriptSource> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let mut paths = scripts_below(&folder).expect("the folder of regressions");
    for entry in std::fs::read_dir(&folder).expect("the folder of regressions") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "wat") {
            paths.push(path);
        }
    }
    paths.iter().map(|path| ScriptSource::read(path, Some(Edition::Implemented))).collect()
}

#[test]
fn regressions_pass_everywhere() {
    let suite = Suite::new(sources());
    assert!(!suite.scripts().is_empty(), "there are regressions");
    let mut modes = Mode::all();
    for mode in Mode::all().into_iter().filter(|mode| mode.strategy != Strategy::Jit) {
        modes.extend([0, 1].map(|threshold| Mode { baseline_threshold: Some(threshold), ..mode }));
    }
    for mut mode in modes {
        mode.tier_up_threshold = (mode.strategy == Strategy::Auto).then_some(2);
        for outcome in suite.run(mode, |_| {}) {
            let failures: Vec<_> = outcome.failures().collect();
            assert!(failures.is_empty(), "{} on {mode}: {failures:#?}", outcome.name);
        }
    }
}
