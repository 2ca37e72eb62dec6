//! The grammar. Blanks may stand before a field, an operator or a value, not before `,` or `.`.

use regex_lite::Regex;

use crate::quote::{self, Quoted};
use crate::{Error, Selector, Test};

/// The selectors of one filter, none for the empty text.
pub(crate) fn parse(text: &str) -> Result<Vec<Selector>, Error> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut parser = Parser { text, at: 0 };
    let mut selectors = vec![parser.selector()?];
    while let Some(next) = parser.peek() {
        if next != ',' {
            return Err(parser.error(parser.at, format!("unexpected input: {next}")));
        }
        parser.at += 1;
        selectors.push(parser.selector()?);
    }
    Ok(selectors)
}

enum Operator {
    Equal,
    NotEqual,
    Matches,
}

struct Parser<'a> {
    text: &'a str,
    /// Bytes that were consumed.
    at: usize,
}

impl<'a> Parser<'a> {
    fn selector(&mut self) -> Result<Selector, Error> {
        let path = self.path()?;
        if matches!(self.peek(), None | Some(',')) {
            return Ok(Selector { path, test: Test::Present });
        }
        let test = match self.operator()? {
            Operator::Equal => Test::Equal(self.value(false)?),
            Operator::NotEqual => Test::NotEqual(self.value(false)?),
            Operator::Matches => Test::Matches(regex(self.value(true)?)?),
        };
        Ok(Selector { path, test })
    }

    fn path(&mut self) -> Result<Vec<String>, Error> {
        let mut path = vec![self.field()?];
        while self.peek() == Some('.') {
            self.at += 1;
            path.push(self.field()?);
        }
        Ok(path)
    }

    fn field(&mut self) -> Result<String, Error> {
        self.skip_blanks();
        match self.peek() {
            Some(quote) if quote::opens(quote) => self.quoted(false),
            Some(first) if is_field(first) => Ok(self.take_while(is_field).to_owned()),
            _ => Err(self.error(self.at, "expected field or quoted")),
        }
    }

    fn operator(&mut self) -> Result<Operator, Error> {
        self.skip_blanks();
        let start = self.at;
        match self.take_while(is_operator) {
            "==" => Ok(Operator::Equal),
            "!=" => Ok(Operator::NotEqual),
            "~=" => Ok(Operator::Matches),
            "" => Err(self.error(start, self.no_operator())),
            other => Err(self.error(start, format!("unsupported operator {other:?}"))),
        }
    }

    /// What to say where an operator should be: an open quote is the likelier mistake.
    fn no_operator(&self) -> &'static str {
        let quoted = self.peek().is_some_and(quote::opens);
        let unclosed = quoted.then(|| quote::read(&self.text[self.at..]).err()).flatten();
        unclosed.unwrap_or(r#"expected an operator ("=="|"!="|"~=")"#)
    }

    fn value(&mut self, is_regex: bool) -> Result<String, Error> {
        self.skip_blanks();
        match self.peek() {
            Some(quote) if quote::opens(quote) => self.quoted(is_regex),
            Some(first) if !matches!(first, ',' | '.') && !is_operator(first) => {
                let value = self.take_while(is_value);
                if value.is_empty() {
                    return Err(self.error(self.at, "expected value or quoted"));
                }
                Ok(value.to_owned())
            }
            _ => Err(self.error(self.at, "expected value or quoted")),
        }
    }

    /// A quoted text. `/` and `|` are quotes for regular expressions only.
    fn quoted(&mut self, alternative_quotes: bool) -> Result<String, Error> {
        let start = self.at;
        let literal = quote::read(&self.text[start..]);
        let Quoted { text, quote, length } =
            literal.map_err(|message| self.error(start, message))?;
        if quote != '"' && !alternative_quotes {
            return Err(self.error(start, "invalid quote encountered"));
        }
        self.at += length;
        Ok(text)
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip_blanks(&mut self) {
        self.take_while(char::is_whitespace);
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn error(&self, at: usize, message: impl Into<String>) -> Error {
        let text = self.text;
        let place = match text[at..].chars().next() {
            Some(there) => {
                format!("[{} >|{there}|< {}]", &text[..at], &text[at + there.len_utf8()..])
            }
            None => format!("[{text}]"),
        };
        Error::Parse { place, message: message.into() }
    }
}

fn regex(value: String) -> Result<Regex, Error> {
    let parsed =
        plain(&value).and_then(|plain| Regex::new(&plain).map_err(|error| error.to_string()));
    parsed.map_err(|message| Error::Regex { value, message })
}

/// The same expression as the crate reads it: without `\Q…\E`, which Go's have: what is between stands
/// for itself. Refuses flags that Go has not.
fn plain(value: &str) -> Result<String, String> {
    let (mut out, mut rest) = (String::with_capacity(value.len()), value);
    while let Some(at) = rest.find(['\\', '[', '(']) {
        let (before, here) = rest.split_at(at);
        out.push_str(before);
        if let Some(quoted) = here.strip_prefix("\\Q") {
            let (text, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            out.push_str(&regex_lite::escape(text));
            rest = after;
            continue;
        }
        if let Some(flag) = foreign_flag(here) {
            return Err(format!("invalid or unsupported Perl syntax: flag {flag}"));
        }
        let length = match here.as_bytes()[0] {
            b'[' => class(here),
            b'(' => 1,
            _ => escaped(here),
        };
        let (taken, after) = here.split_at(length);
        out.push_str(taken);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// The length of a backslash and what it escapes: of `\\Q` the Q is a letter.
fn escaped(text: &str) -> usize {
    1 + text[1..].chars().next().map_or(0, char::len_utf8)
}

/// The length of the class that a text begins with. Nothing in it is quoted: `\Q` there is refused by
/// the crate, as by Go.
fn class(text: &str) -> usize {
    let mut at = if text.starts_with("[^") { 2 } else { 1 };
    // First it stands for itself.
    at += usize::from(text[at..].starts_with(']'));
    while let Some(next) = text[at..].chars().next() {
        let named = text[at..].strip_prefix("[:").and_then(|name| name.find(":]"));
        at += match next {
            ']' => return at + 1,
            '\\' => escaped(&text[at..]),
            _ => named.map_or(next.len_utf8(), |length| length + 4),
        };
    }
    at
}

/// A flag of the group that a text begins with which Go does not have.
fn foreign_flag(text: &str) -> Option<char> {
    let flags = text.strip_prefix("(?")?;
    let flags = &flags[..flags.find([')', ':'])?];
    let letters = flags.chars().all(|c| c.is_ascii_alphabetic() || c == '-');
    flags.chars().find(|flag| letters && !"imsU-".contains(*flag))
}

fn is_field(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

fn is_operator(c: char) -> bool {
    matches!(c, '=' | '!' | '~')
}

fn is_value(c: char) -> bool {
    c != ',' && !c.is_whitespace() && !c.is_control()
}
