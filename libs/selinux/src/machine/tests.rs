//! Machines as folders.

use super::*;

const ON: &str = "30 20 0:25 / /sys/fs/selinux rw,relatime shared:9 - selinuxfs selinuxfs rw\n";
const LABELS: &str = "# labels\nprocess = \"system_u:system_r:container_t:s0\"\n\
    content = \"system_u:object_r:virt_var_lib_t:s0\"\n\
    file = \"system_u:object_r:container_file_t:s0\"\nro_file=\"system_u:object_r:container_ro_file_t:s0\"\n";

/// A machine with SELinux, a policy and labels for containers.
fn machine() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    put(&dir, "proc/self/mountinfo", &format!("20 1 8:1 / / rw - ext4 /dev/sda1 rw\n{ON}"));
    put(&dir, "proc/self/attr/current", "system_u:system_r:container_runtime_t:s0\0");
    put(&dir, "etc/selinux/config", "SELINUX=enforcing\n# SELINUXTYPE=mls\nSELINUXTYPE=targeted\n");
    put(&dir, "etc/selinux/targeted/contexts/lxc_contexts", LABELS);
    dir
}

fn put(dir: &tempfile::TempDir, path: &str, text: &str) {
    let path = dir.path().join(path);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, text).unwrap();
}

fn why(dir: &tempfile::TempDir) -> String {
    let why = look(dir.path()).unwrap_err().to_string();
    why.replace(dir.path().to_str().unwrap(), "")
}

#[test]
fn labels_are_those_of_the_policy_that_is_used() {
    let dir = machine();
    let labels = look(dir.path()).unwrap();
    assert_eq!(labels.process.to_string(), "system_u:system_r:container_t:s0");
    assert_eq!(labels.files.to_string(), "system_u:object_r:container_file_t:s0");
    assert_eq!(labels.shared.to_string(), "system_u:object_r:container_ro_file_t:s0");
    // What is the same for all policies counts first.
    let text = "process=\"u:r:p_t\"\nfile=\"u:r:f_t:s0:c1,c2\"\n";
    put(&dir, "usr/share/containers/selinux/contexts", text);
    let labels = look(dir.path()).unwrap();
    assert_eq!(labels.process.to_string(), "u:r:p_t");
    assert_eq!(labels.shared.to_string(), "u:r:f_t:s0");
}

#[test]
fn without_a_kernel_that_has_it_there_are_none() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(why(&dir), "the kernel has it off");
    let dir = machine();
    put(&dir, "proc/self/mountinfo", "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
    assert_eq!(why(&dir), "the kernel has it off");
    put(&dir, "proc/self/mountinfo", &ON.replace("rw,relatime", "ro,relatime"));
    assert_eq!(why(&dir), "\"/sys/fs/selinux\" is mounted read-only here");
    put(&dir, "proc/self/mountinfo", ON);
    for text in ["kernel\0", "kernel\n", "kernel"] {
        put(&dir, "proc/self/attr/current", text);
        assert_eq!(why(&dir), "no policy is loaded");
    }
}

#[test]
fn without_labels_for_containers_it_says_which_file_has_none() {
    let dir = machine();
    let file = "etc/selinux/targeted/contexts/lxc_contexts";
    put(&dir, file, "process = \"u:r:p_t:s0\"\nfile = \"\"\n");
    let words = "names no label \"file\" for containers: is container-selinux installed?";
    assert_eq!(why(&dir), format!("\"/{file}\" {words}"));
    put(&dir, file, "process = \"u:r\"\nfile = \"u:r:f_t\"\n");
    assert_eq!(why(&dir), format!("\"/{file}\": \"u:r\" is no label of SELinux"));
    fs_err::remove_file(dir.path().join(file)).unwrap();
    assert!(why(&dir).starts_with(&format!("\"/{file}\" cannot be read (")), "{}", why(&dir));
    for name in ["", "../../..", "a/b"] {
        put(&dir, "etc/selinux/config", &format!("SELINUXTYPE={name}\n"));
        assert!(why(&dir).contains("names no label \"SELINUXTYPE\""), "{}", why(&dir));
    }
}
