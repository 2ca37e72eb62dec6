//! The terminal that `berth` itself runs on.

use std::io::IsTerminal;

use anyhow::{Context, Result, bail};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal that passes every key on; its own ways come back when this is dropped.
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Makes standard input raw.
    pub fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            bail!("-t with -i needs a terminal on standard input");
        }
        let before = tcgetattr(&stdin).context("look at the terminal")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).context("make the terminal raw")?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Columns and rows of the terminal on standard output, if it is one.
pub fn size() -> Option<(u32, u32)> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}
