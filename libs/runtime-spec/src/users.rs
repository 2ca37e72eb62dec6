//! How a user's name or number becomes the numbers that the kernel takes.

use oci_spec::runtime::User;

use crate::{Error, RootView};

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";

/// The most that is read of either file; larger ones are refused.
const MAX_FILE: u64 = 4 << 20;

/// The largest number that runc takes.
const MAX_ID: u32 = i32::MAX as u32;

/// One half of `USER:GROUP`.
enum Half<'a> {
    Number(u32),
    Name(&'a str),
}

struct Entry {
    name: String,
    uid: u32,
    gid: u32,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// The process's user for `text`, `NAME|UID[:GROUP|GID]`; empty is root.
///
/// A number need not be in `/etc/passwd`; its group is then 0. A name must. The groups that
/// `/etc/group` lists the user in come along, and the first of all is the primary group.
pub(crate) fn resolve(root: &RootView, text: &str) -> Result<User, Error> {
    let (user, group) = split(text)?;
    let entries = passwd(root)?;
    let groups = groups(root)?;
    let entry = match user {
        Half::Number(uid) => entries.iter().find(|entry| entry.uid == uid),
        Half::Name(name) => Some(
            entries.iter().find(|entry| entry.name == name).ok_or_else(|| unknown(name, PASSWD))?,
        ),
    };
    let uid = match user {
        Half::Number(uid) => uid,
        Half::Name(_) => entry.map_or(0, |entry| entry.uid),
    };
    let gid = match group {
        None => entry.map_or(0, |entry| entry.gid),
        Some(Half::Number(gid)) => gid,
        Some(Half::Name(name)) => {
            let found = groups.iter().find(|group| group.name == name);
            found.ok_or_else(|| unknown(name, GROUP))?.gid
        }
    };
    let name = entry.map_or("", |entry| entry.name.as_str());
    let mut additional = vec![gid];
    for group in &groups {
        let listed = group.name != name && group.members.iter().any(|member| member == name);
        if listed && !name.is_empty() && !additional.contains(&group.gid) {
            additional.push(group.gid);
        }
    }
    let mut user = User::default();
    user.set_uid(uid).set_gid(gid).set_additional_gids(Some(additional));
    Ok(user)
}

fn unknown(name: &str, file: &'static str) -> Error {
    let kind = if file == PASSWD { "user" } else { "group" };
    Error::UnknownName { kind, name: name.to_owned(), file }
}

/// Takes `USER[:GROUP]` apart; empty is user 0.
fn split(text: &str) -> Result<(Half<'_>, Option<Half<'_>>), Error> {
    let malformed = || Error::MalformedUser(text.to_owned());
    let half = |part| half(part).ok_or_else(malformed);
    if text.is_empty() {
        return Ok((Half::Number(0), None));
    }
    match text.split_once(':') {
        None => Ok((half(text)?, None)),
        Some((user, group)) => Ok((half(user)?, Some(half(group)?))),
    }
}

/// A name or a number in range; what is all digits is a number.
fn half(part: &str) -> Option<Half<'_>> {
    let digits = part.strip_prefix('-').unwrap_or(part);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let number = part.parse::<u32>().ok().filter(|number| *number <= MAX_ID)?;
        return Some(Half::Number(number));
    }
    (!part.is_empty() && !part.contains(':')).then_some(Half::Name(part))
}

/// The well-formed lines of `/etc/passwd`.
fn passwd(root: &RootView) -> Result<Vec<Entry>, Error> {
    let text = root.read(PASSWD, MAX_FILE)?.unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Entry { name, uid, gid })
    };
    Ok(String::from_utf8_lossy(&text).lines().filter_map(|line| entry(line.trim())).collect())
}

/// The well-formed lines of `/etc/group`.
fn groups(root: &RootView) -> Result<Vec<Group>, Error> {
    let text = root.read(GROUP, MAX_FILE)?.unwrap_or_default();
    let group = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default().split(',').map(ToOwned::to_owned);
        Some(Group { name, gid, members: members.collect() })
    };
    Ok(String::from_utf8_lossy(&text).lines().filter_map(|line| group(line.trim())).collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\n\
                         app:x:1000:1000::/home/app:/bin/sh\nodd:x:7:70::/:/bin/sh\n";
    const GROUPS: &str = "root:x:0:\nwheel:x:10:root,app\napp:x:1000:app\naudio:x:29:app\n";

    fn root() -> (tempfile::TempDir, RootView) {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join("etc")).unwrap();
        fs_err::write(dir.path().join(PASSWD), USERS).unwrap();
        fs_err::write(dir.path().join(GROUP), GROUPS).unwrap();
        let view = RootView::of_layers([dir.path().to_owned()]).unwrap();
        (dir, view)
    }

    #[rstest]
    #[case("", 0, 0, &[0, 10])]
    #[case("0", 0, 0, &[0, 10])]
    #[case("app", 1000, 1000, &[1000, 10, 29])]
    #[case("1000", 1000, 1000, &[1000, 10, 29])]
    #[case("odd", 7, 70, &[70])]
    #[case("4242", 4242, 0, &[0])]
    #[case("4242:4343", 4242, 4343, &[4343])]
    #[case("app:audio", 1000, 29, &[29, 10])]
    #[case("app:5", 1000, 5, &[5, 10, 29])]
    #[case("2147483647", 2_147_483_647, 0, &[0])]
    fn a_user_becomes_numbers(
        #[case] text: &str,
        #[case] uid: u32,
        #[case] gid: u32,
        #[case] additional: &[u32],
    ) {
        let (_dir, view) = root();
        let user = resolve(&view, text).unwrap();
        assert_eq!((user.uid(), user.gid()), (uid, gid));
        assert_eq!(user.additional_gids().as_deref(), Some(additional));
    }

    #[rstest]
    #[case("2147483648")]
    #[case("-1")]
    #[case("a:b:c")]
    #[case(":")]
    #[case("app:")]
    #[case("99999999999999999999")]
    fn what_is_no_user_is_refused(#[case] text: &str) {
        let (_dir, view) = root();
        assert!(matches!(resolve(&view, text), Err(Error::MalformedUser(_))), "{text}");
    }

    #[test]
    fn an_unknown_name_says_where_it_was_looked_for() {
        let (_dir, view) = root();
        let error = resolve(&view, "nobody").unwrap_err().to_string();
        assert!(error.contains("\"nobody\"") && error.contains(PASSWD), "{error}");
        let error = resolve(&view, "app:nogroup").unwrap_err().to_string();
        assert!(error.contains("\"nogroup\"") && error.contains(GROUP), "{error}");
    }

    #[test]
    fn an_image_without_files_takes_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let view = RootView::of_layers([dir.path().to_owned()]).unwrap();
        assert_eq!(resolve(&view, "5:6").unwrap().gid(), 6);
        assert!(resolve(&view, "app").is_err());
    }
}
