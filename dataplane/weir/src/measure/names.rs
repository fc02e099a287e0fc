//! The names of VIPs and servers, in a file beside the region, whose frames have numbers only.
//!
//! ```text
//! weir-names 1 <epoch of the writer> <generation>
//! vip <number> <name>
//! server <number> <name>
//! ```

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::control::Directory;

const HEAD: &str = "weir-names 1";

/// Where the names of a region are.
pub fn path(region: &Path) -> PathBuf {
    let mut name = region.as_os_str().to_owned();
    name.push(".names");
    name.into()
}

/// Puts the names of a directory beside the region. A reader sees the old file or the new one.
pub fn write(region: &Path, epoch: u64, directory: &Directory) -> io::Result<()> {
    let mut text = format!("{HEAD} {epoch} {}\n", directory.generation);
    for vip in &directory.vips {
        text.push_str(&format!("vip {} {}\n", vip.id.0, vip.name));
    }
    for server in &directory.servers {
        text.push_str(&format!("server {} {}\n", server.id.0, server.name));
    }
    let place = path(region);
    let fresh = place.with_extension("names.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    fs::rename(fresh, place)
}

/// What VIPs and servers are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    vips: HashMap<u32, String>,
    servers: HashMap<u32, String>,
}

impl Names {
    /// The names beside a region, as far as they are there and of this writer; else none.
    pub fn read(region: &Path, epoch: u64) -> Self {
        fs::read_to_string(path(region)).map_or_else(|_| Self::default(), |text| Self::parse(&text, epoch))
    }

    fn parse(text: &str, epoch: u64) -> Self {
        let mut names = Self::default();
        let mut lines = text.lines();
        let head = lines.next().and_then(|line| line.strip_prefix(HEAD)?.trim().split(' ').next());
        if head.and_then(|written| written.parse().ok()) != Some(epoch) {
            return names; // of a run before
        }
        for line in lines {
            let mut words = line.splitn(3, ' ');
            let (Some(what), Some(number), Some(name)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse() else { continue };
            match what {
                "vip" => _ = names.vips.insert(number, name.into()),
                "server" => _ = names.servers.insert(number, name.into()),
                _ => {}
            }
        }
        names
    }

    /// Every VIP's number and name.
    pub fn vips(&self) -> impl Iterator<Item = (u32, &str)> {
        self.vips.iter().map(|(&number, name)| (number, name.as_str()))
    }

    /// The name of a VIP, if it is known.
    pub fn vip(&self, number: u32) -> Option<&str> {
        self.vips.get(&number).map(String::as_str)
    }

    /// The name of a server, if it is known.
    pub fn server(&self, number: u32) -> Option<&str> {
        self.servers.get(&number).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_run_before_are_not_believed() {
        let text = "weir-names 1 3 7\nvip 0 web (removed)\nserver 5 [fd00::1]:80\nserver x y\nelse\n";
        let names = Names::parse(text, 3);
        assert_eq!((names.vip(0), names.server(5)), (Some("web (removed)"), Some("[fd00::1]:80")));
        assert_eq!((names.vip(5), names.server(0)), (None, None));
        assert_eq!(Names::parse(text, 4), Names::default());
        assert_eq!(Names::parse("", 0), Names::default());
    }
}
