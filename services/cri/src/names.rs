//! Names of pods and containers, which no two have at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// Who has which name. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<Mutex<HashMap<String, String>>>);

impl Names {
    /// Gives a name to who has the number `id`.
    ///
    /// # Errors
    /// [`Error::Refused`] with the number of who has it.
    pub fn reserve(&self, name: &str, id: &str) -> Result<()> {
        let mut held = self.held();
        match held.get(name) {
            Some(holder) if holder != id => {
                Err(Error::Refused(format!("name {name:?} is reserved for {holder:?}")))
            }
            _ => {
                held.insert(name.to_owned(), id.to_owned());
                Ok(())
            }
        }
    }

    /// Takes all names back of who has the number `id`.
    pub fn release(&self, id: &str) {
        self.held().retain(|_, holder| holder != id);
    }

    /// Who has a name.
    #[must_use]
    pub fn holder(&self, name: &str) -> Option<String> {
        self.held().get(name).cloned()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, String>> {
        // Each change of the map is one call.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_holder_until_it_is_released() {
        let names = Names::default();
        names.reserve("n", "1").unwrap();
        names.reserve("n", "1").unwrap();
        let refused = names.reserve("n", "2").unwrap_err().to_string();
        assert_eq!(refused, "name \"n\" is reserved for \"1\"");
        names.release("1");
        names.reserve("n", "2").unwrap();
        assert_eq!(names.holder("n").as_deref(), Some("2"));
    }
}
