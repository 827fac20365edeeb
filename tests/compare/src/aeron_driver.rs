//! Aeron's media driver, which Aeron's programs need beside them. It runs until it is killed, in the directory that
//! `AERON_DIR` names.

use std::error::Error;

use rusteron_media_driver::{AeronDriver, AeronDriverContext};

fn main() -> Result<(), Box<dyn Error>> {
    let driver = AeronDriver::new(&AeronDriverContext::new()?)?;
    driver.start(true)?;
    loop {
        driver.main_idle_strategy(driver.main_do_work()?);
    }
}
