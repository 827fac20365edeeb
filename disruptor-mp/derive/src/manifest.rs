//! Reads the part of a `Cargo.toml` that says under which name a package is a dependency.
//!
//! `toml_parser` splits the text into events. They are laid flat here: each value that is no list becomes an entry with
//! its whole path, whether the file says `[dependencies.wire]`, `wire = { … }` or `dependencies.wire.package = …`.

use std::fs;
use std::path::{Path, PathBuf};

use toml_parser::parser::{Event, EventKind, parse_document};
use toml_parser::{Raw, Source};

/// The values of a manifest, by path. A file that is not TOML gives those that can be read: cargo reports the rest.
pub(crate) struct Manifest {
    path: PathBuf,
    entries: Vec<(Vec<String>, String)>,
}

impl Manifest {
    pub(crate) fn at(path: PathBuf) -> Option<Self> {
        let text = fs::read_to_string(&path).ok()?;
        Some(Self::read(path, &text))
    }

    fn read(path: PathBuf, text: &str) -> Self {
        let source = Source::new(text);
        let tokens: Vec<_> = source.lex().collect();
        let mut reader = Reader::default();
        let mut receive = |event: Event| {
            if let Some(raw) = source.get(event) {
                reader.receive(event.kind(), raw);
            }
        };
        parse_document(&tokens, &mut receive, &mut ());
        Self {
            path,
            entries: reader.entries,
        }
    }

    /// The name in code of a dependency on `package`, or of the package itself if it is that one.
    pub(crate) fn name_of(&self, package: &str) -> Option<String> {
        if self.value(&["package", "name"]) == Some(package) {
            return Some(package.replace('-', "_"));
        }
        let names = self.entries.iter().filter_map(|(path, _)| dependency(path));
        let mut names = names.filter(|(table, name)| self.is_of(package, table, name));
        names.next().map(|(_, name)| name.replace('-', "_"))
    }

    /// Whether the dependency `name` of `table` is one on `package`.
    fn is_of(&self, package: &str, table: &[String], name: &str) -> bool {
        match self.setting(table, name, "workspace") {
            Some("true") => self.inherits(package, name),
            _ => self.setting(table, name, "package").unwrap_or(name) == package,
        }
    }

    /// Whether the workspace's dependency `name` is one on `package`. The workspace is the nearest directory upwards
    /// whose manifest has that dependency, or the one that `package.workspace` leads to.
    fn inherits(&self, package: &str, name: &str) -> bool {
        let own = self.path.parent().unwrap_or(Path::new(""));
        let named = self.value(&["package", "workspace"]).map(|to| own.join(to));
        let upwards = own.ancestors().map(Path::to_owned);
        let mut manifests = named
            .into_iter()
            .chain(upwards)
            .filter_map(|directory| Self::at(directory.join("Cargo.toml")));
        let table = ["workspace".to_owned(), "dependencies".to_owned()];
        let workspace = manifests.find(|manifest| {
            let mut paths = manifest.entries.iter().map(|(path, _)| path);
            paths.any(|path| path.starts_with(&table) && path.get(2).is_some_and(|at| at == name))
        });
        workspace.is_some_and(|workspace| {
            workspace.setting(&table, name, "package").unwrap_or(name) == package
        })
    }

    fn setting(&self, table: &[String], name: &str, key: &str) -> Option<&str> {
        let table = table.iter().map(String::as_str);
        self.value(&table.chain([name, key]).collect::<Vec<_>>())
    }

    fn value(&self, path: &[&str]) -> Option<&str> {
        let mut entries = self.entries.iter();
        let found = entries.find(|(at, _)| at.iter().eq(path))?;
        Some(&found.1)
    }
}

/// The table of dependencies and the name in it to which the path of an entry leads.
fn dependency(path: &[String]) -> Option<(&[String], &str)> {
    let depth = match path.first()?.as_str() {
        "target" => 2,
        _ => 0,
    };
    let is_table = matches!(
        path.get(depth)?.as_str(),
        "dependencies" | "dev-dependencies"
    );
    let name = path.get(depth + 1)?;
    is_table.then_some((&path[..=depth], name))
}

/// What the events up to now say about the next one.
#[derive(Default)]
struct Reader {
    entries: Vec<(Vec<String>, String)>,
    /// The header that the next lines belong to.
    header: Vec<String>,
    /// How long the key of each open inline table is.
    opened: Vec<usize>,
    /// The keys of the open inline tables, then the key at hand.
    key: Vec<String>,
    /// How many lists are open. Nothing in them is of interest.
    lists: usize,
}

impl Reader {
    fn receive(&mut self, kind: EventKind, raw: Raw<'_>) {
        match kind {
            EventKind::ArrayOpen => self.lists += 1,
            EventKind::ArrayClose => {
                self.lists = self.lists.saturating_sub(1);
                self.next_key();
            }
            _ if self.lists > 0 => {}
            EventKind::StdTableOpen | EventKind::ArrayTableOpen => {
                self.opened.clear();
                self.key.clear();
            }
            EventKind::StdTableClose | EventKind::ArrayTableClose => {
                self.header = std::mem::take(&mut self.key);
            }
            EventKind::SimpleKey => {
                let mut name = String::new();
                raw.decode_key(&mut name, &mut ());
                self.key.push(name);
            }
            EventKind::InlineTableOpen => self.opened.push(self.key.len()),
            EventKind::InlineTableClose => {
                self.opened.pop();
                self.next_key();
            }
            EventKind::Scalar => {
                let mut value = String::new();
                let _kind = raw.decode_scalar(&mut value, &mut ());
                let path = self.header.iter().chain(&self.key).cloned().collect();
                self.entries.push((path, value));
                self.next_key();
            }
            _ => {}
        }
    }

    /// The value at hand has been read.
    fn next_key(&mut self) {
        if self.lists == 0 {
            self.key.truncate(self.opened.last().copied().unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_in(text: &str) -> Option<String> {
        Manifest::read(PathBuf::from("/nowhere/Cargo.toml"), text).name_of("myelon")
    }

    #[test]
    fn a_dependency_is_found_in_every_spelling() {
        for text in [
            "[dependencies]\nmyelon = '0.1'",
            "[dependencies]\nmyelon = { path = '../myelon', features = ['rkyv', \"x\"] }",
            "[dependencies.myelon]\nversion = '0.1' # the newest",
            "dependencies.myelon.version = '0.1'",
            "[dev-dependencies]\n\"myelon\" = \"0.1\"",
            "[target.'cfg(unix)'.dependencies]\nmyelon = '0.1'",
            "[target.x86_64-unknown-linux-gnu.dev-dependencies.myelon]\npath = '..'",
            "[dependencies]\na = { features = [\n  'b', # c\n], version = '1' }\nmyelon = '0.1'",
            "[[bin]]\nname = 'wire'\n[dependencies]\nmyelon = { version = \"0.1\" }",
            "[package]\nname = 'myelon'",
        ] {
            assert_eq!(name_in(text).as_deref(), Some("myelon"), "{text}");
        }
    }

    #[test]
    fn another_name_is_found_in_every_spelling() {
        for text in [
            "[dependencies]\nfast-wire = { package = 'myelon', path = '..' }",
            "[dependencies]\nfast-wire = { path = '..', features = [{ a = 'b' }], package = \"my\\u0065lon\" }",
            "[dependencies.fast-wire]\nversion = '0.1'\npackage = 'myelon'",
            "[dependencies]\nfast-wire.version = '0.1'\nfast-wire.package = 'myelon'",
            "[target.'cfg(any(unix, windows))']\ndependencies = { fast-wire = { package = 'myelon' } }",
        ] {
            assert_eq!(name_in(text).as_deref(), Some("fast_wire"), "{text}");
        }
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
        for text in [
            "",
            "[build-dependencies]\nmyelon = '0.1'",
            "[dependencies]\nmyelon = { package = 'another', version = '1' }",
            "[dependencies]\nanother = { version = '1', features = ['myelon'] }",
            "[dependencies]\n# myelon = '0.1'\nanother = \"\"\"\nmyelon = '0.1'\"\"\"",
            "[features]\nmyelon = ['dep:myelon']",
            "[package]\nname = 'another'\n[package.metadata.dependencies]\nmyelon = '0.1'",
            "[dependencies]\nmyelon = { workspace = true }",
            "[[[\n= = { 'myelon",
        ] {
            assert_eq!(name_in(text), None, "{text}");
        }
    }
}
