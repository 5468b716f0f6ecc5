//! Hearing of changes to files, without looking again and again.
//!
//! A file that is replaced whole (renamed over, or reached through a link that is swapped, as Kubernetes
//! does) is seen in its folder; one that is written in place, or mounted by itself, only at the file. So
//! both are watched. What is heard says that it is worth looking, not what has changed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// A set of watched files.
pub struct Changes {
    inotify: Inotify,
    folders: HashMap<WatchDescriptor, PathBuf>,
}

impl Changes {
    pub fn new() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self { inotify, folders: HashMap::new() })
    }

    /// The descriptor to watch for input.
    pub fn descriptor(&self) -> RawFd {
        self.inotify.as_fd().as_raw_fd()
    }

    /// Watches this file from now on. Called again when it may have become another one.
    pub fn follow(&mut self, file: &Path) -> io::Result<()> {
        let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
        self.follow_folder_of(file)?;
        self.follow_folder_of(&real)?;
        match self.inotify.add_watch(&real, AddWatchFlags::IN_CLOSE_WRITE) {
            // It is seen in its folder when it comes back.
            Ok(_) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn follow_folder_of(&mut self, file: &Path) -> io::Result<()> {
        let Some(folder) = file.parent() else { return Ok(()) };
        let what = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
        let watch = self.inotify.add_watch(folder, what)?;
        self.folders.insert(watch, folder.to_owned());
        Ok(())
    }

    /// Takes what has been heard; whether it is worth looking.
    pub fn take(&mut self) -> io::Result<bool> {
        let mut heard = false;
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => return Ok(heard),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                    self.folders.remove(&event.wd);
                } else if event.mask.contains(AddWatchFlags::IN_CREATE) {
                    // A new file is empty until it is closed; a new link leads to a whole one.
                    heard |= self.is_link(event.wd, event.name.as_deref());
                } else {
                    heard = true;
                }
            }
        }
    }

    fn is_link(&self, folder: WatchDescriptor, name: Option<&OsStr>) -> bool {
        let path = self.folders.get(&folder).zip(name).map(|(folder, name)| folder.join(name));
        path.and_then(|path| path.symlink_metadata().ok()).is_some_and(|found| found.is_symlink())
    }
}
