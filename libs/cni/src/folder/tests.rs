//! A folder as it changes. Each change is waited for, and what must not come in between is looked for.

use std::os::unix::fs::symlink;

use super::*;

/// No change that is told takes as long.
const LONG: Duration = Duration::from_secs(60);

fn conf(name: &str) -> String {
    format!(r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":[{{"type":"x"}}]}}"#)
}

fn names(networks: &Networks) -> Vec<String> {
    networks.networks.iter().map(|n| n.name().to_owned()).collect()
}

struct Seen {
    _tasks: Tasks,
    receiver: watch::Receiver<Arc<Networks>>,
}

impl Seen {
    fn of(folder: &Path) -> Self {
        let tasks = Tasks::new();
        Self { receiver: watch(folder.to_owned(), 0, &tasks), _tasks: tasks }
    }

    /// Waits for these networks; all that came before.
    async fn until(&mut self, expected: &[&str]) -> Vec<Arc<Networks>> {
        let mut before = Vec::new();
        loop {
            let now = self.receiver.borrow_and_update().clone();
            if names(&now) == expected {
                return before;
            }
            before.push(now.clone());
            let changed = tokio::time::timeout(LONG, self.receiver.changed()).await;
            changed.unwrap_or_else(|_| panic!("{expected:?}, but {now:?}")).unwrap();
        }
    }
}

#[test]
fn a_bad_file_hides_no_other_and_the_first_ones_count() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs_err::write(dir.path().join(name), text).unwrap();
    write("30-c.conflist", &conf("c"));
    write("20-bad.conflist", "{");
    write("10-a.conf", r#"{"name":"a","type":"x"}"#);
    write("40-again.conflist", &conf("a"));
    write("15-b.json", r#"{"name":"b","type":"x"}"#);
    write("00-readme.txt", "no network");
    write("50-none.conflist", r#"{"name":"none"}"#);
    fs_err::create_dir(dir.path().join("60-folder.conf")).unwrap();
    let all = read(dir.path(), 0);
    assert_eq!(names(&all), ["a", "b", "c"]);
    let bad: Vec<_> = all.bad.iter().map(|b| b.file.file_name().unwrap()).collect();
    assert_eq!(bad, ["20-bad.conflist", "40-again.conflist", "50-none.conflist"]);
    assert!(all.bad[0].reason.contains("20-bad.conflist"), "{:?}", all.bad[0]);
    assert!(all.bad[1].reason.contains("10-a.conf has a network \"a\""), "{:?}", all.bad[1]);
    assert_eq!(names(&read(dir.path(), 2)), ["a", "b"]);
    assert_eq!(read(&dir.path().join("nowhere"), 0), Networks::default());
}

#[test]
fn the_number_of_files_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..MAX_FILES + 2 {
        fs_err::write(dir.path().join(format!("{n:05}.conflist")), conf(&format!("n{n}"))).unwrap();
    }
    let all = read(dir.path(), 0);
    assert_eq!(all.networks.len(), MAX_FILES);
    assert_eq!(all.bad[0].file, dir.path());
}

#[tokio::test]
async fn files_that_come_change_and_go_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    fs_err::write(file("1.conflist"), conf("one")).unwrap();
    let mut seen = Seen::of(dir.path());
    assert_eq!(names(&seen.receiver.borrow_and_update()), ["one"], "at once");
    fs_err::write(file("2.conflist"), conf("two")).unwrap();
    seen.until(&["one", "two"]).await;
    fs_err::write(file("1.conflist"), conf("other")).unwrap();
    seen.until(&["other", "two"]).await;
    fs_err::rename(file("1.conflist"), file("3.conflist")).unwrap();
    seen.until(&["two", "other"]).await;
    fs_err::write(file("hidden"), conf("zero")).unwrap();
    fs_err::hard_link(file("hidden"), file("0.conflist")).unwrap();
    seen.until(&["zero", "two", "other"]).await;
    symlink("hidden", file("4.conflist")).unwrap();
    fs_err::remove_file(file("0.conflist")).unwrap();
    seen.until(&["two", "other", "zero"]).await;
    for name in ["2.conflist", "3.conflist", "4.conflist"] {
        fs_err::remove_file(file(name)).unwrap();
    }
    seen.until(&[]).await;
}

#[tokio::test]
async fn a_file_counts_when_its_writer_closes_it() {
    use std::io::Write;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    fs_err::write(file("1.conflist"), conf("one")).unwrap();
    let mut seen = Seen::of(dir.path());
    let text = conf("changed");
    let (first, second) = text.split_at(20);
    let mut writing = fs_err::File::create(file("1.conflist")).unwrap();
    let mut new = fs_err::File::create(file("2.conflist")).unwrap();
    writing.write_all(first.as_bytes()).unwrap();
    new.write_all(b"{").unwrap();
    // Another file changes meanwhile, and is told of.
    fs_err::write(file("3.conflist"), conf("three")).unwrap();
    let before = seen.until(&["one", "three"]).await;
    assert!(before.iter().all(|n| n.bad.is_empty()), "{before:?}");
    assert!(seen.receiver.borrow().bad.is_empty(), "half a file was read");
    writing.write_all(second.as_bytes()).unwrap();
    drop(writing);
    let before = seen.until(&["changed", "three"]).await;
    assert!(before.iter().all(|n| n.bad.is_empty()), "{before:?}");
    new.write_all(b"no network").unwrap();
    drop(new);
    let told = seen.receiver.wait_for(|n| n.bad.len() == 1);
    tokio::time::timeout(LONG, told).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_folder_that_comes_goes_and_is_replaced_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cni/net.d");
    let mut seen = Seen::of(&folder);
    seen.until(&[]).await;
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::write(folder.join("1.conflist"), conf("one")).unwrap();
    seen.until(&["one"]).await;
    // Replaced as a whole, from above.
    let next = dir.path().join("next/net.d");
    fs_err::create_dir_all(&next).unwrap();
    fs_err::write(next.join("1.conflist"), conf("two")).unwrap();
    fs_err::rename(dir.path().join("cni"), dir.path().join("old")).unwrap();
    seen.until(&[]).await;
    fs_err::rename(dir.path().join("next"), dir.path().join("cni")).unwrap();
    seen.until(&["two"]).await;
    // What happens in the old one is nobody's matter.
    fs_err::write(dir.path().join("old/net.d/9.conflist"), conf("nine")).unwrap();
    fs_err::remove_dir_all(&folder).unwrap();
    seen.until(&[]).await;
    // A link takes its place, and is changed.
    for name in ["a", "b"] {
        fs_err::create_dir(dir.path().join(name)).unwrap();
        fs_err::write(dir.path().join(name).join("1.conflist"), conf(name)).unwrap();
    }
    symlink(dir.path().join("a"), &folder).unwrap();
    seen.until(&["a"]).await;
    fs_err::write(dir.path().join("a/2.conflist"), conf("a2")).unwrap();
    seen.until(&["a", "a2"]).await;
    symlink(dir.path().join("b"), dir.path().join("link")).unwrap();
    fs_err::rename(dir.path().join("link"), &folder).unwrap();
    seen.until(&["b"]).await;
}

#[tokio::test]
async fn plugins_beside_a_network_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join("1.conflist"), conf("one")).unwrap();
    let mut seen = Seen::of(dir.path());
    let kinds = |networks: &Arc<Networks>| -> Vec<String> {
        networks.networks.iter().flat_map(|n| n.plugins()).map(str::to_owned).collect()
    };
    let folder = dir.path().join("one");
    fs_err::create_dir(&folder).unwrap();
    for (text, expected) in [(r#"{"type":"y"}"#, "y"), (r#"{"type":"z"}"#, "z")] {
        fs_err::write(folder.join("a.conf"), text).unwrap();
        let told = seen.receiver.wait_for(|n| kinds(n) == ["x", expected]);
        tokio::time::timeout(LONG, told).await.unwrap().unwrap();
    }
    fs_err::remove_dir_all(&folder).unwrap();
    let told = seen.receiver.wait_for(|n| kinds(n) == ["x"]);
    tokio::time::timeout(LONG, told).await.unwrap().unwrap();
}
