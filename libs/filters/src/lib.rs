//! containerd's filter grammar and its matching.
//!
//! Owns: the grammar, its quoting and the wording of its errors. Must not know: which objects
//! there are; those implement [`Adaptor`].
//!
//! ```text
//! filter    := selector ("," selector)*          all must match
//! selector  := fieldpath (operator value)?       without an operator: is present
//! fieldpath := field ("." field)*
//! field     := quoted | [A-Za-z_] [A-Za-z0-9_]*
//! operator  := "==" | "!=" | "~="
//! value     := quoted | [^\s,]+
//! quoted    := a Go string literal; a regular expression also between // or ||
//! ```

mod parser;
mod quote;

use std::borrow::Cow;

use berth_errors::{Code, Coded};
use regex_lite::Regex;

/// A filter that is no filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text does not follow the grammar. The wording is containerd's.
    #[error("filters: parse error: {place}: {message}: invalid argument")]
    Parse {
        /// The text, with the place marked in it.
        place: String,
        /// What was wrong there.
        message: String,
    },
    /// The value of a `~=` is no regular expression.
    #[error("filters: {value:?} is not a regular expression: {message}: invalid argument")]
    Regex {
        /// The value.
        value: String,
        /// What was wrong with it.
        message: String,
    },
}

impl Coded for Error {
    fn code(&self) -> Code {
        Code::InvalidArgument
    }
}

/// An object that filters look into.
pub trait Adaptor {
    /// The value of the field at `path`, None when it is not present.
    ///
    /// Labels come as `["labels", ...]`; a key with dots may be in one part (it was quoted) or in
    /// several: [`label`] finds both.
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>>;
}

/// The label that a field path names: what follows `labels` joined by dots.
#[must_use]
pub fn label<'a>(
    labels: &'a std::collections::BTreeMap<String, String>,
    rest: &[&str],
) -> Option<Cow<'a, str>> {
    labels.get(&rest.join(".")).map(|value| Cow::Borrowed(value.as_str()))
}

/// What an object must be to be listed: any of several alternatives, each of selectors that must
/// all match.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Empty: everything matches.
    alternatives: Vec<Vec<Selector>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Selector {
    pub(crate) path: Vec<String>,
    pub(crate) test: Test,
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Filter {
    /// One filter. The empty text matches everything.
    ///
    /// # Errors
    /// [`Error`] when the text does not follow the grammar.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_any(&[text])
    }

    /// Several filters, of which any may match. No filters match everything.
    ///
    /// # Errors
    /// [`Error`] for the first text that does not follow the grammar.
    pub fn parse_any<S: AsRef<str>>(texts: &[S]) -> Result<Self, Error> {
        let mut alternatives = Vec::with_capacity(texts.len());
        let mut all = false;
        for text in texts {
            let selectors = parser::parse(text.as_ref())?;
            all |= selectors.is_empty();
            alternatives.push(selectors);
        }
        if all {
            alternatives.clear();
        }
        Ok(Self { alternatives })
    }

    /// Whether the object is to be listed.
    pub fn matches(&self, object: &impl Adaptor) -> bool {
        let all = |selectors: &Vec<Selector>| selectors.iter().all(|s| s.matches(object));
        self.matches_all() || self.alternatives.iter().any(all)
    }

    /// Whether everything matches, so that nobody needs to look.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        self.alternatives.is_empty()
    }
}

impl Selector {
    fn matches(&self, object: &impl Adaptor) -> bool {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let value = object.field(&path);
        // An absent field reads as the empty text, as in containerd.
        let text = value.as_deref().unwrap_or_default();
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value.is_some() && text == wanted,
            Test::NotEqual(unwanted) => text != unwanted,
            Test::Matches(regex) => regex.is_match(text),
        }
    }
}
