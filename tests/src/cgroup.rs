//! Control groups that a test makes for its processes.

use std::path::{Path, PathBuf};

use disruptor_mp::portable_shm_segment_name;

/// One setting of a group: its controller, and its file with a value in each version of control groups.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The name of the controller, and of its hierarchy in version 1.
    pub controller: &'a str,
    /// The file of version 1, and its content.
    pub v1: (&'a str, &'a str),
    /// The file of version 2, and its content.
    pub v2: (&'a str, &'a str),
}

/// A group of its own. Dropping it removes it; no process may be in it by then.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// `None` where no group with that setting can be made.
    pub fn new(setting: Setting<'_>) -> Option<Self> {
        let v1 = Path::new("/sys/fs/cgroup").join(setting.controller);
        let (top, (file, value)) = if v1.join(setting.v1.0).exists() {
            (v1, setting.v1)
        } else {
            // in version 2 the controller has to be switched on for children
            let v2 = PathBuf::from("/sys/fs/cgroup");
            let switch = format!("+{}", setting.controller);
            let _ = std::fs::write(v2.join("cgroup.subtree_control"), switch);
            (v2, setting.v2)
        };
        let group = Self(top.join(portable_shm_segment_name("test")));
        std::fs::create_dir(&group.0).ok()?;
        std::fs::write(group.0.join(file), value).ok()?;
        Some(group)
    }

    /// The group's directory.
    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}
