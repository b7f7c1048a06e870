//! Writes the code of the schema to where it is kept.

use std::fs;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    for made in campanile_schema::MADE {
        let place = made.place();
        fs::write(&place, made.content).with_context(|| format!("cannot write {}", place.display()))?;
    }
    Ok(())
}
