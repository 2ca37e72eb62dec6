//! How a user's name or number becomes the numbers that the kernel takes.

use oci_spec::runtime::User;

use crate::{Error, RootView};

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";

/// The most that is read of either file; larger ones are refused. containerd's limit.
const MAX_FILE: u64 = 10 << 20;

/// The largest number that runc takes.
const MAX_ID: u32 = i32::MAX as u32;

/// One half of `USER:GROUP`.
#[derive(Clone, Copy)]
enum Half<'a> {
    Number(u32),
    Name(&'a str),
}

/// A line of `/etc/passwd`; `None` is a number that is none, or out of range.
struct Entry {
    name: String,
    uid: Option<u32>,
    gid: Option<u32>,
}

struct Group {
    name: String,
    gid: Option<u32>,
    members: Vec<String>,
}

/// The process's user for `text`, `NAME|UID[:GROUP|GID]`; empty is root.
///
/// A number need not be in `/etc/passwd`; its group is then 0. A name must. The groups that
/// `/etc/group` lists the user in come along, and the first of all is the primary group.
pub(crate) fn resolve(root: &RootView, text: &str) -> Result<User, Error> {
    check_user_files(root)?;
    let (uid, gid) = user_ids(root, text)?;
    let (user, _) = split(text)?;
    let mut additional = vec![gid];
    for group in groups_of(root, user)? {
        if !additional.contains(&group) {
            additional.push(group);
        }
    }
    let mut user = User::default();
    user.set_uid(uid).set_gid(gid).set_additional_gids(Some(additional));
    Ok(user)
}

/// Whether `/etc/passwd` and `/etc/group` are files, or not there. runc reads them too, whoever the user is: from a pipe
/// or a device that an image has there it would wait for ever.
///
/// # Errors
/// [`Error::NoFile`]; [`Error::ReadFile`].
pub fn check_user_files(root: &RootView) -> Result<(), Error> {
    [PASSWD, GROUP].into_iter().try_for_each(|name| match root.is_special(name)? {
        true => Err(Error::NoFile(name)),
        false => Ok(()),
    })
}

/// User and primary group for `text`, `NAME|UID[:GROUP|GID]`; empty is root.
///
/// A number need not be in `/etc/passwd`; its group is then 0. A name must. What is named by
/// numbers alone is looked up nowhere.
///
/// # Errors
/// [`Error::MalformedUser`], [`Error::IdOutOfRange`], [`Error::UnknownName`]; [`Error::OversizedFile`]
/// and [`Error::ReadFile`] of the two files.
pub fn user_ids(root: &RootView, text: &str) -> Result<(u32, u32), Error> {
    let out_of_range = |kind| Error::IdOutOfRange { user: text.to_owned(), kind };
    let (user, group) = split(text)?;
    let entry = match (user, group) {
        (Half::Number(_), Some(_)) => None,
        _ => entry_of(root, user)?,
    };
    let uid = match (user, &entry) {
        (Half::Number(uid), _) => uid,
        (Half::Name(name), None) => return Err(unknown(name, PASSWD)),
        (Half::Name(_), Some(entry)) => entry.uid.ok_or_else(|| out_of_range("uid"))?,
    };
    let gid = match (group, entry) {
        (Some(Half::Number(gid)), _) => gid,
        (Some(Half::Name(name)), _) => {
            let found = groups(root)?.into_iter().find(|group| group.name == name);
            let found = found.ok_or_else(|| unknown(name, GROUP))?;
            found.gid.ok_or_else(|| out_of_range("gid"))?
        }
        (None, None) => 0,
        (None, Some(entry)) => entry.gid.ok_or_else(|| out_of_range("gid"))?,
    };
    Ok((uid, gid))
}

/// The groups that `/etc/group` lists a user in, given by name or number, in the file's order
/// and without the group of the user's own name; none for a number without a name.
///
/// # Errors
/// As [`user_ids`], but an unknown name is in no group.
pub fn member_groups(root: &RootView, user: &str) -> Result<Vec<u32>, Error> {
    let user = half(user).map_err(|fault| fault.of(user, "uid"))?;
    groups_of(root, user)
}

fn groups_of(root: &RootView, user: Half<'_>) -> Result<Vec<u32>, Error> {
    let name = match user {
        Half::Name(name) => name.to_owned(),
        Half::Number(_) => entry_of(root, user)?.map(|entry| entry.name).unwrap_or_default(),
    };
    if name.is_empty() {
        return Ok(Vec::new());
    }
    let listed = |group: &Group| group.name != name && group.members.contains(&name);
    let groups = groups(root)?.into_iter().filter(listed);
    Ok(groups.filter_map(|group| group.gid).collect())
}

/// The first line of `/etc/passwd` with this name or number.
fn entry_of(root: &RootView, user: Half<'_>) -> Result<Option<Entry>, Error> {
    Ok(passwd(root)?.into_iter().find(|entry| match user {
        Half::Number(uid) => entry.uid == Some(uid),
        Half::Name(name) => entry.name == name,
    }))
}

fn unknown(name: &str, file: &'static str) -> Error {
    let kind = if file == PASSWD { "user" } else { "group" };
    Error::UnknownName { kind, name: name.to_owned(), file }
}

/// Takes `USER[:GROUP]` apart; empty is user 0.
fn split(text: &str) -> Result<(Half<'_>, Option<Half<'_>>), Error> {
    let half = |part, kind| half(part).map_err(|fault| fault.of(text, kind));
    if text.is_empty() {
        return Ok((Half::Number(0), None));
    }
    match text.split_once(':') {
        None => Ok((half(text, "uid")?, None)),
        Some((user, group)) => Ok((half(user, "uid")?, Some(half(group, "gid")?))),
    }
}

/// What can be wrong with a half.
enum Fault {
    Malformed,
    OutOfRange,
}

impl Fault {
    fn of(self, user: &str, kind: &'static str) -> Error {
        let user = user.to_owned();
        match self {
            Fault::Malformed => Error::MalformedUser(user),
            Fault::OutOfRange => Error::IdOutOfRange { user, kind },
        }
    }
}

/// A name or a number in range; what is all digits is a number.
fn half(part: &str) -> Result<Half<'_>, Fault> {
    let digits = part.strip_prefix('-').unwrap_or(part);
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return id(part).map(Half::Number).ok_or(Fault::OutOfRange);
    }
    if part.is_empty() || part.contains(':') {
        return Err(Fault::Malformed);
    }
    Ok(Half::Name(part))
}

/// A number that the kernel and the runtime take for a user or a group.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number <= MAX_ID)
}

/// The lines of `/etc/passwd` that have a name and two numbers.
fn passwd(root: &RootView) -> Result<Vec<Entry>, Error> {
    let text = root.read(PASSWD, MAX_FILE)?.unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let uid = id(fields.nth(1)?);
        let gid = id(fields.next()?);
        Some(Entry { name, uid, gid })
    };
    Ok(String::from_utf8_lossy(&text).lines().filter_map(|line| entry(line.trim())).collect())
}

/// The lines of `/etc/group` that have a name and a number.
fn groups(root: &RootView) -> Result<Vec<Group>, Error> {
    let text = root.read(GROUP, MAX_FILE)?.unwrap_or_default();
    let group = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
        let gid = id(fields.nth(1)?);
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
    #[case("a:b:c")]
    #[case(":")]
    #[case("app:")]
    fn what_is_no_user_is_refused(#[case] text: &str) {
        let (_dir, view) = root();
        assert!(matches!(resolve(&view, text), Err(Error::MalformedUser(_))), "{text}");
    }

    #[rstest]
    #[case("2147483648", "uid")]
    #[case("-1", "uid")]
    #[case("99999999999999999999", "uid")]
    #[case("app:4294967296", "gid")]
    #[case("0:-1", "gid")]
    fn a_number_out_of_range_is_never_root(#[case] text: &str, #[case] half: &str) {
        let (_dir, view) = root();
        let refused = resolve(&view, text);
        assert!(matches!(refused, Err(Error::IdOutOfRange { kind, .. }) if kind == half), "{text}");
    }

    /// What a hostile image may write instead of a number.
    #[rstest]
    #[case("app:x:4294967296:5::/:", "app", "uid")]
    #[case("app:x:-1:5::/:", "app", "uid")]
    #[case("app:x::5::/:", "app", "uid")]
    #[case("app:x:5:4294967296::/:", "5", "gid")]
    #[case("app:x:5:zero::/:", "app", "gid")]
    fn a_line_with_no_number_makes_nobody_root(
        #[case] line: &str,
        #[case] text: &str,
        #[case] half: &str,
    ) {
        let (dir, view) = root();
        fs_err::write(dir.path().join(PASSWD), line).unwrap();
        let refused = user_ids(&view, text);
        assert!(matches!(refused, Err(Error::IdOutOfRange { kind, .. }) if kind == half), "{line}");
    }

    #[rstest]
    #[case("app", &[10, 29])]
    #[case("1000", &[10, 29])]
    #[case("0", &[10])]
    #[case("4242", &[])]
    #[case("nobody", &[])]
    fn groups_are_those_that_list_the_user(#[case] user: &str, #[case] expected: &[u32]) {
        let (_dir, view) = root();
        assert_eq!(member_groups(&view, user).unwrap(), expected);
    }

    #[test]
    fn a_fifo_is_no_file_of_users_and_a_huge_one_is_refused() {
        let (dir, view) = root();
        let path = dir.path().join(PASSWD);
        fs_err::remove_file(&path).unwrap();
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(matches!(user_ids(&view, "app"), Err(Error::UnknownName { .. })));
        assert_eq!(user_ids(&view, "1000").unwrap(), (1000, 0));
        assert!(matches!(resolve(&view, "1000:5"), Err(Error::NoFile("etc/passwd"))));
        fs_err::remove_file(&path).unwrap();
        fs_err::File::create(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(matches!(user_ids(&view, "app"), Err(Error::OversizedFile("etc/passwd", _))));
        assert_eq!(user_ids(&view, "5:6").unwrap(), (5, 6));
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
