//! Waiting for a condition, with a deadline scaled to the machine.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use sha2::{Digest, Sha256};

/// What hashing `CALIBRATION_BYTES` takes on the machine the deadlines were chosen on.
const CALIBRATION_EXPECTED: Duration = Duration::from_millis(30);
/// Enough work to notice a loaded or slow machine, little enough to do in every test program.
const CALIBRATION_BYTES: usize = 32 << 20;
/// Between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// A machine slower than this is not one to judge by.
const SCALE_MAX: f64 = 8.0;

/// How much longer than on the reference machine to wait here; at least 1.
fn scale() -> f64 {
    static SCALE: OnceLock<f64> = OnceLock::new();
    *SCALE.get_or_init(|| {
        let bytes = vec![0x5a; CALIBRATION_BYTES];
        let start = Instant::now();
        std::hint::black_box(Sha256::digest(&bytes));
        (start.elapsed().as_secs_f64() / CALIBRATION_EXPECTED.as_secs_f64()).clamp(1.0, SCALE_MAX)
    })
}

/// `base` on the reference machine, as long as that takes here.
pub fn scaled(base: Duration) -> Duration {
    base.mul_f64(scale())
}

/// Looks until `look` finds something. `what` completes "waited 30s for ...". The last error of `look` is
/// part of the failure.
pub async fn until<T>(what: &str, base: Duration, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let limit = scaled(base);
    let start = Instant::now();
    loop {
        let seen = look().await;
        match seen {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if start.elapsed() > limit => bail!("waited {limit:?} for {what}, in vain"),
            Err(error) if start.elapsed() > limit => {
                return Err(error.context(format!("waited {limit:?} for {what}, in vain")));
            }
            Ok(None) | Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}
