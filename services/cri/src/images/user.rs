//! Whom an image runs as.

/// The longest name that is told.
const MAX_NAME: usize = 256;
/// The largest number of a user, as containerd has it.
const MAX_UID: i64 = i32::MAX as i64;

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// By number.
    Uid(i64),
    /// By name, which stands for a number in the image's own `/etc/passwd`.
    Name(String),
}

impl User {
    /// Of a config's `USER`, in which a group may stand behind a colon. `None`: it names none, or none that can be.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let user = text.split(':').next().unwrap_or_default();
        let digits = user.strip_prefix(['-', '+']).unwrap_or(user);
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        match user.parse::<i64>() {
            Ok(uid) => (0..=MAX_UID).contains(&uid).then_some(Self::Uid(uid)),
            Err(_) if is_number || user.is_empty() || user.len() > MAX_NAME => None,
            Err(_) => Some(Self::Name(user.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_names() {
        assert_eq!(User::of("1000:100"), Some(User::Uid(1000)));
        assert_eq!(User::of("0"), Some(User::Uid(0)));
        assert_eq!(User::of("2147483647"), Some(User::Uid(2_147_483_647)));
        assert_eq!(User::of("www-data:www"), Some(User::Name("www-data".to_owned())));
        assert_eq!(User::of("1a"), Some(User::Name("1a".to_owned())));
    }

    #[test]
    fn what_is_out_of_range_is_left_out() {
        let long = "x".repeat(MAX_NAME + 1);
        for text in
            ["", ":1", "-1", "2147483648", "99999999999999999999", "-99999999999999999999", &long]
        {
            assert_eq!(User::of(text), None, "{text}");
        }
    }
}
