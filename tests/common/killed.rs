//! A child that ends with the test, also where that fails.

use std::process::Child;

/// Killed when it is dropped, and waited for.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
