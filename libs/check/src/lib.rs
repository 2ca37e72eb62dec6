//! How a service compares its records with what is there, and mends what it can (`berth fsck`).
//!
//! Owns: that everything is looked at twice before it is called wrong, that nothing is changed
//! unless a repair was asked for, and how findings look on the wire. Must not know: what is
//! compared.

mod wire;

use std::collections::HashSet;
use std::error::Error;
use std::time::Duration;

/// Between the two looks. What is being made or removed is done by then, or holds a lock that the
/// second look takes.
const SETTLED: Duration = Duration::from_secs(1);

/// The most findings of one answer.
const MOST: usize = 10_000;

/// How to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Hash what is named by its digest.
    pub digests: bool,
    /// Mend what can be mended.
    pub repair: bool,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    /// What kind of trouble it is.
    pub kind: &'static str,
    /// Whose it is; empty for nobody's.
    pub namespace: String,
    /// What it is called.
    pub name: String,
    /// What is wrong.
    pub wrong: String,
    /// What a repair does, or what to do by hand.
    pub remedy: &'static str,
    /// Whether [`Checked::mend`] can mend it.
    pub mendable: bool,
}

impl Finding {
    /// One that a repair mends.
    #[must_use]
    pub fn new(kind: &'static str, namespace: &str, name: impl Into<String>) -> Self {
        let (namespace, name) = (namespace.to_owned(), name.into());
        Self { kind, namespace, name, wrong: String::new(), remedy: "", mendable: true }
    }

    /// Says what is wrong, and what a repair does about it.
    #[must_use]
    pub fn says(self, wrong: impl Into<String>, remedy: &'static str) -> Self {
        Self { wrong: wrong.into(), remedy, ..self }
    }

    /// No repair can mend it.
    #[must_use]
    pub fn by_hand(self) -> Self {
        Self { mendable: false, ..self }
    }
}

/// Which look it is.
#[derive(Clone, Copy, Debug)]
pub enum Look<'a> {
    /// The first: quick, without locks that hold anybody up.
    First,
    /// The second, at the end of which everything has to be sure.
    Again(&'a [Finding]),
}

impl Look<'_> {
    /// Whether it is the second.
    #[must_use]
    pub fn is_again(self) -> bool {
        matches!(self, Look::Again(_))
    }

    /// Whether a thing of this name is worth a close look: all are at first.
    #[must_use]
    pub fn concerns(self, name: &str) -> bool {
        match self {
            Look::First => true,
            Look::Again(found) => found.iter().any(|finding| finding.name == name),
        }
    }
}

/// What a look has seen.
#[derive(Debug, Default)]
pub struct Looked {
    /// How many things.
    pub examined: u64,
    /// What seems wrong.
    pub findings: Vec<Finding>,
}

/// What a service lets check.
pub trait Checked: Sync {
    /// Why it could not be checked, or mended.
    type Error: Error + Send + 'static;

    /// Looks at everything, changing nothing.
    fn look(
        &self,
        asked: Asked,
        look: Look<'_>,
    ) -> impl Future<Output = Result<Looked, Self::Error>> + Send;

    /// Mends one finding. Under the owner's lock it looks once more, and leaves alone what is not
    /// wrong any more: false.
    fn mend(&self, finding: &Finding) -> impl Future<Output = Result<bool, Self::Error>> + Send;
}

/// What became of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as it was.
    Found,
    /// It is mended.
    Mended,
    /// It could not be mended.
    Failed(String),
}

/// What a check has found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many things were looked at.
    pub examined: u64,
    /// What is wrong, and what became of it.
    pub findings: Vec<(Finding, Outcome)>,
    /// How many more are wrong. They are neither told nor mended.
    pub left_out: u64,
}

/// Looks, twice if anything seems wrong, and mends if that was asked for.
///
/// # Errors
/// Those of the looks. A repair that fails is an [`Outcome`].
pub async fn check<C: Checked>(of: &C, asked: Asked) -> Result<Report, C::Error> {
    let Looked { examined, findings } = of.look(asked, Look::First).await?;
    if findings.is_empty() {
        return Ok(Report { examined, ..Report::default() });
    }
    tokio::time::sleep(SETTLED).await;
    let again = of.look(asked, Look::Again(&findings)).await?;
    let before: HashSet<_> = findings.iter().map(identity).collect();
    let mut left: Vec<_> =
        again.findings.into_iter().filter(|now| before.contains(&identity(now))).collect();
    let left_out = left.len().saturating_sub(MOST) as u64;
    left.truncate(MOST);
    let mut report = Report { examined, findings: Vec::with_capacity(left.len()), left_out };
    for finding in left {
        let outcome = match asked.repair && finding.mendable {
            false => Outcome::Found,
            true => match of.mend(&finding).await {
                Ok(true) => mended(&finding),
                Ok(false) => continue,
                Err(error) => Outcome::Failed(berth_errors::chain(&error)),
            },
        };
        report.findings.push((finding, outcome));
    }
    Ok(report)
}

fn mended(finding: &Finding) -> Outcome {
    let Finding { kind, namespace, name, .. } = finding;
    tracing::info!(kind, namespace, name, "mended");
    Outcome::Mended
}

/// What makes two findings the same: what is said of it may change.
fn identity(finding: &Finding) -> (&'static str, String, String) {
    (finding.kind, finding.namespace.clone(), finding.name.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use super::*;

    /// Numbers that are wrong: at the first look, and at the second.
    struct Numbers {
        wrong: [&'static [u32]; 2],
        mended: Mutex<BTreeSet<String>>,
    }

    impl Checked for Numbers {
        type Error = std::fmt::Error;

        async fn look(&self, _: Asked, look: Look<'_>) -> Result<Looked, Self::Error> {
            let wrong = self.wrong[usize::from(look.is_again())];
            let finding = |n: &u32| Finding::new("number", "", n.to_string());
            Ok(Looked { examined: 9, findings: wrong.iter().map(finding).collect() })
        }

        async fn mend(&self, finding: &Finding) -> Result<bool, Self::Error> {
            match finding.name.as_str() {
                "3" => Err(std::fmt::Error),
                "4" => Ok(false),
                name => Ok(self.mended.lock().unwrap().insert(name.to_owned())),
            }
        }
    }

    fn numbers(first: &'static [u32], again: &'static [u32]) -> Numbers {
        Numbers { wrong: [first, again], mended: Mutex::default() }
    }

    async fn names(of: &Numbers, repair: bool) -> Vec<(String, Outcome)> {
        let report = check(of, Asked { repair, digests: false }).await.unwrap();
        assert_eq!(report.examined, 9);
        report.findings.into_iter().map(|(finding, outcome)| (finding.name, outcome)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_is_wrong_twice_is_told_and_nothing_is_changed() {
        let of = numbers(&[1, 2], &[2, 5]);
        assert_eq!(names(&of, false).await, [("2".to_owned(), Outcome::Found)]);
        assert!(of.mended.lock().unwrap().is_empty());
        assert!(names(&numbers(&[], &[1]), true).await.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_repair_tells_what_became_of_each() {
        let of = numbers(&[2, 3, 4], &[2, 3, 4]);
        let told = names(&of, true).await;
        assert_eq!(told[0], ("2".to_owned(), Outcome::Mended));
        assert!(matches!(&told[1], (name, Outcome::Failed(_)) if name == "3"));
        // It was right again when it was to be mended.
        assert_eq!(told.len(), 2);
    }
}
