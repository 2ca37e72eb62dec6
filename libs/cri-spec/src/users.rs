//! Whom a program runs as.

use std::collections::BTreeSet;

use berth_runtime_spec::{RootView, check_user_files, member_groups, user_ids};
use oci_spec::runtime::User;

use crate::Error;
use crate::cri::SupplementalGroupsPolicy as Policy;
use crate::error::bounded;

/// How many groups the kernel takes (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65_536;

/// The largest number that the runtime takes.
const MAX_ID: i64 = i32::MAX as i64;

/// What a request says of the user.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    pub name: &'a str,
    pub uid: Option<i64>,
    pub gid: Option<i64>,
    pub groups: &'a [i64],
    pub policy: i32,
}

impl Asked<'_> {
    /// `USER[:GROUP]`, or nothing.
    fn text(&self) -> Result<String, Error> {
        let user = match self.uid {
            _ if !self.name.is_empty() => self.name.to_owned(),
            Some(uid) => uid.to_string(),
            None => String::new(),
        };
        match self.gid {
            Some(gid) if user.is_empty() => Err(Error::GroupWithoutUser(gid)),
            Some(gid) => Ok(format!("{user}:{gid}")),
            None => Ok(user),
        }
    }

    fn groups(&self) -> Result<impl Iterator<Item = u32>, Error> {
        bounded("supplemental groups", self.groups.len(), MAX_GROUPS)?;
        let range = 0..=MAX_ID;
        if let Some(group) = self.groups.iter().find(|group| !range.contains(*group)) {
            let value = i128::from(*group);
            return Err(Error::OutOfRange { what: "supplemental group", value });
        }
        Ok(self.groups.iter().filter_map(|group| u32::try_from(*group).ok()))
    }
}

/// The user of a pod's own process: the request's, or else the image's, with the groups asked for.
pub(crate) fn of_pod(
    have: &User,
    asked: Asked<'_>,
    image: &str,
    root: &RootView,
) -> Result<User, Error> {
    let (user, mut groups) = begin(have, asked, image, root)?;
    groups.extend(asked.groups()?);
    Ok(end(user, groups))
}

/// The user of a container: the request's, or else the image's; with the groups asked for, and,
/// unless the policy is strict, those in which the image has the user.
pub(crate) fn of_container(
    have: &User,
    asked: Asked<'_>,
    image: &str,
    root: &RootView,
) -> Result<User, Error> {
    check_user_files(root)?;
    let (user, mut groups) = begin(have, asked, image, root)?;
    match Policy::try_from(asked.policy) {
        Ok(Policy::Merge) => {
            let name = match asked.uid {
                _ if !asked.name.is_empty() => asked.name.to_owned(),
                Some(uid) => uid.to_string(),
                None if image.is_empty() => "0".to_owned(),
                None => image.to_owned(),
            };
            let name = name.split(':').next().unwrap_or_default();
            groups.extend(member_groups(root, name)?);
            groups.insert(user.gid());
        }
        Ok(Policy::Strict) => {}
        Err(_) => return Err(Error::GroupsPolicy(asked.policy)),
    }
    groups.extend(asked.groups()?);
    Ok(end(user, groups))
}

/// The numbers of user and primary group, which counts among the others where anybody is named.
fn begin(
    have: &User,
    asked: Asked<'_>,
    image: &str,
    root: &RootView,
) -> Result<(User, BTreeSet<u32>), Error> {
    let own = asked.text()?;
    let text = if own.is_empty() { image } else { &own };
    let mut user = have.clone();
    if text.is_empty() {
        let groups = have.additional_gids().iter().flatten().copied().collect();
        return Ok((user, groups));
    }
    let (uid, gid) = user_ids(root, text)?;
    user.set_uid(uid).set_gid(gid);
    Ok((user, BTreeSet::from([gid])))
}

fn end(mut user: User, groups: BTreeSet<u32>) -> User {
    let groups: Vec<u32> = groups.into_iter().collect();
    user.set_additional_gids((!groups.is_empty()).then_some(groups));
    user
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const USERS: &str = "root:x:0:0::/:\napp:x:1000:1001::/:\nwide:x:4294967296:0::/:\n";
    const GROUPS: &str =
        "root:x:0:\nwheel:x:10:root\napp:x:1001:app\nextra:x:77:app\naudio:x:29:app\n";

    fn root() -> (tempfile::TempDir, RootView) {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join("etc")).unwrap();
        fs_err::write(dir.path().join("etc/passwd"), USERS).unwrap();
        fs_err::write(dir.path().join("etc/group"), GROUPS).unwrap();
        let view = RootView::of_layers([dir.path().to_owned()]).unwrap();
        (dir, view)
    }

    fn named(name: &str) -> Asked<'_> {
        Asked { name, ..Default::default() }
    }

    fn numbers(uid: Option<i64>, gid: Option<i64>) -> Asked<'static> {
        Asked { uid, gid, ..Default::default() }
    }

    const STRICT: i32 = 1;
    const WIDE: &[i64] = &[1 << 32];

    #[rstest]
    #[case(Asked::default(), "", 0, 0, &[0, 5, 10])]
    #[case(Asked::default(), "app", 1000, 1001, &[5, 29, 77, 1001])]
    #[case(Asked::default(), "1000:2", 1000, 2, &[2, 5, 29, 77])]
    #[case(Asked::default(), "app:audio", 1000, 29, &[5, 29, 77])]
    #[case(named("app"), "root", 1000, 1001, &[5, 29, 77, 1001])]
    #[case(named("1000"), "", 1000, 1001, &[5, 29, 77, 1001])]
    #[case(numbers(Some(1000), None), "root", 1000, 1001, &[5, 29, 77, 1001])]
    #[case(numbers(Some(4242), None), "app", 4242, 0, &[0, 5])]
    #[case(numbers(Some(4242), Some(6)), "app", 4242, 6, &[5, 6])]
    fn groups_of_the_image_are_merged(
        #[case] asked: Asked<'_>,
        #[case] image: &str,
        #[case] uid: u32,
        #[case] gid: u32,
        #[case] groups: &[u32],
    ) {
        let (_dir, root) = root();
        let asked = Asked { groups: &[5, 5], ..asked };
        let user = of_container(&User::default(), asked, image, &root).unwrap();
        assert_eq!((user.uid(), user.gid()), (uid, gid));
        assert_eq!(user.additional_gids().as_deref(), Some(groups));
    }

    #[rstest]
    #[case("", &[5])]
    #[case("app", &[5, 1001])]
    fn a_strict_policy_takes_only_what_is_asked_for(#[case] image: &str, #[case] groups: &[u32]) {
        let (_dir, root) = root();
        let asked = Asked { groups: &[5], policy: STRICT, ..Default::default() };
        let user = of_container(&User::default(), asked, image, &root).unwrap();
        assert_eq!(user.additional_gids().as_deref(), Some(groups));
    }

    #[test]
    fn a_pods_own_process_has_the_groups_asked_for() {
        let (_dir, root) = root();
        let asked = Asked { uid: Some(65_535), groups: &[9, 3, 9], ..Default::default() };
        let user = of_pod(&User::default(), asked, "", &root).unwrap();
        assert_eq!(user.uid(), 65_535);
        assert_eq!(user.additional_gids().as_deref(), Some(&[0, 3, 9][..]));
        let user = of_pod(&User::default(), Asked::default(), "", &root).unwrap();
        assert_eq!(user, User::default());
    }

    #[rstest]
    #[case(numbers(None, Some(5)), "", "user group \"5\" is specified without user")]
    #[case(numbers(Some(-1), None), "", "invalid USER value \"-1\": uid out of range")]
    #[case(numbers(Some(1 << 32), None), "", "invalid USER value \"4294967296\": uid out of range")]
    #[case(numbers(Some(1), Some(1 << 32)), "", "invalid USER value \"1:4294967296\": gid out of range")]
    #[case(named("wide"), "", "invalid USER value \"wide\": uid out of range")]
    #[case(Asked::default(), "a:b:c", "invalid USER value a:b:c")]
    #[case(named("nobody"), "", "no users found: \"nobody\" is not in the image's etc/passwd")]
    #[case(Asked::default(), "app:no", "no groups found: \"no\" is not in the image's etc/group")]
    #[case(
        Asked { policy: 7, uid: None, gid: None, name: "", groups: &[] }, "",
        "not implemented in this containerd release: SupplementalGroupsPolicy=7"
    )]
    #[case(
        Asked { groups: WIDE, uid: None, gid: None, name: "", policy: 0 }, "",
        "supplemental group 4294967296 is out of range: invalid argument"
    )]
    fn nobody_is_root_by_mistake(
        #[case] asked: Asked<'_>,
        #[case] image: &str,
        #[case] words: &str,
    ) {
        let (_dir, root) = root();
        let refused = of_container(&User::default(), asked, image, &root).unwrap_err();
        assert_eq!(refused.to_string(), words);
    }

    #[test]
    fn a_huge_file_of_users_is_refused() {
        let (dir, root) = root();
        let file = fs_err::File::create(dir.path().join("etc/passwd")).unwrap();
        file.set_len((10 << 20) + 1).unwrap();
        let refused = of_container(&User::default(), named("app"), "", &root).unwrap_err();
        assert_eq!(refused.to_string(), "\"etc/passwd\" exceeds 10485760 bytes");
    }
}
