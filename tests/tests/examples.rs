//! Each public item must have an example. `cargo test --doc` runs the examples; this test finds the items without one.
//!
//! The sources are read as the compiler reads them, module by module from `lib.rs`. An item has an example if its own
//! documentation contains a block of code. Otherwise another example must use the item by its name. For a method that
//! is an example of its type or of its `impl` block, or the one that its type points to; for any other item it is one
//! on the page of a public module that shows it; or it is the example that the item's own `# Examples` points to.
//! Constants, fields, variants, modules and the methods of traits need none, and neither do items that documentation
//! does not show.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use syn::{Attribute, ImplItem, Item, Meta, Type, UseTree, Visibility};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The least number of items in a crate. With fewer, the scan has not read the whole crate.
const ITEMS_MIN: usize = 150;

/// Languages of blocks that are not compiled.
const NO_RUST: [&str; 4] = ["text", "ignore", "toml", "sh"];

/// An item that users can name.
#[derive(Debug)]
struct Public {
    name: String,
    /// For a method: the type that it belongs to.
    of: Option<String>,
    documentation: String,
}

#[derive(Debug, Default)]
struct Module {
    is_pub: bool,
    /// Whether it is `pub` and all modules that contain it are.
    is_public: bool,
    name: String,
    documentation: String,
    items: Vec<Public>,
    /// The names of other modules' items that it shows.
    shows: BTreeSet<String>,
}

/// The directories of a module.
struct Place {
    /// The directory from which `#[path]` starts.
    beside: PathBuf,
    /// The directory of the files of its modules.
    below: PathBuf,
}

/// A crate's modules.
#[derive(Debug, Default)]
struct Scan(Vec<Module>);

impl Scan {
    fn of_crate(name: &str) -> Self {
        let root = Path::new(ROOT).join(name).join("src");
        let module = Module::root();
        let mut scan = Self::default();
        scan.read(module, &root.join("lib.rs"), root);
        scan
    }

    fn read(&mut self, mut module: Module, path: &Path, below: PathBuf) {
        let source = std::fs::read_to_string(path);
        let source = source.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = syn::parse_file(&source).expect("it compiles");
        module.documentation.push_str(&documentation(&file.attrs));
        let beside = path.parent().expect("a file's directory").to_owned();
        self.add(module, &file.items, &Place { beside, below });
    }

    /// Adds a module and the modules in it.
    fn add(&mut self, mut module: Module, items: &[Item], place: &Place) {
        items.iter().for_each(|item| module.look_at(item));
        let is_public = module.is_public;
        self.0.push(module);
        for item in items {
            let Item::Mod(inner) = item else { continue };
            if is_hidden(&inner.attrs) {
                continue;
            }
            let name = inner.ident.to_string();
            let module = Module {
                is_pub: is_pub(&inner.vis),
                is_public: is_public && is_pub(&inner.vis),
                name: name.clone(),
                documentation: documentation(&inner.attrs),
                ..Module::default()
            };
            let below = place.below.join(&name);
            if let Some((_, items)) = &inner.content {
                let beside = below.clone();
                self.add(module, items, &Place { beside, below });
            } else if let Some(path) = inner.attrs.iter().find_map(|it| text_of(it, "path")) {
                // the modules of such a file are in its own directory, like those of `mod.rs`
                let file = place.beside.join(path);
                let below = file.parent().expect("a file's directory").to_owned();
                self.read(module, &file, below);
            } else {
                let file = place.below.join(format!("{name}.rs"));
                let in_directory = below.join("mod.rs");
                let file = if file.is_file() { file } else { in_directory };
                self.read(module, &file, below);
            }
        }
    }

    /// Whether a module has a page for users. Some modules are `pub` in a private one, and shown by `lib.rs`.
    fn has_page(&self, module: &Module) -> bool {
        module.is_public || module.is_pub && self.0[0].shows.contains(&module.name)
    }

    /// Whether documentation shows the item: its module has a page, or another page shows it.
    fn is_shown(&self, module: &Module, name: &str) -> bool {
        let mut pages = self.0.iter().filter(|page| self.has_page(page));
        self.has_page(module) || pages.any(|page| page.shows.contains(name))
    }

    /// The public items.
    fn items(&self) -> Vec<&Public> {
        let modules = self.0.iter();
        let items = modules.flat_map(|module| module.items.iter().map(move |item| (module, item)));
        let shown = items.filter(|(module, item)| self.is_shown(module, item.main()));
        shown.map(|(_, item)| item).collect()
    }

    /// The names of the items without an example.
    fn missing(&self) -> Vec<String> {
        let items = self.items();
        let missing = items.iter().filter(|item| !self.has_example(item, &items));
        missing.map(|item| item.full_name()).collect()
    }

    fn has_example(&self, item: &Public, items: &[&Public]) -> bool {
        let of_type = items
            .iter()
            .filter(|other| other.of.is_none() && Some(&other.name) == item.of.as_ref());
        let targets: Vec<_> = of_type
            .clone()
            .chain([&item])
            .filter_map(|it| it.points_to())
            .collect();
        let pointed_to = items
            .iter()
            .filter(|other| targets.contains(&other.name.as_str()));
        let on_pages = self
            .0
            .iter()
            .filter(|page| item.of.is_none() && self.has_page(page) && page.has(&item.name))
            .map(|page| &page.documentation);
        !code(&item.documentation).is_empty()
            || of_type
                .chain(pointed_to)
                .map(|other| &other.documentation)
                .chain(on_pages)
                .any(|text| has_word(&code(text), &item.name))
    }
}

impl Module {
    fn root() -> Self {
        Self {
            is_public: true,
            ..Self::default()
        }
    }

    fn has(&self, name: &str) -> bool {
        self.shows.contains(name) || self.items.iter().any(|item| item.name == name)
    }

    fn look_at(&mut self, item: &Item) {
        match item {
            Item::Impl(block) if block.trait_.is_none() => {
                let Type::Path(path) = &*block.self_ty else {
                    return;
                };
                let of = path.path.segments.last().map(|last| last.ident.to_string());
                let of_block = documentation(&block.attrs);
                for method in &block.items {
                    let ImplItem::Fn(it) = method else { continue };
                    let is_used = has_word(&code(&of_block), &it.sig.ident.to_string());
                    let block = block.attrs.iter().filter(|_| is_used);
                    let attributes: Vec<_> = it.attrs.iter().chain(block).cloned().collect();
                    self.take(&it.vis, &attributes, &it.sig.ident, of.clone());
                }
            }
            Item::Use(it) if is_pub(&it.vis) && !is_hidden(&it.attrs) => self.show(&it.tree),
            Item::Struct(it) => self.take(&it.vis, &it.attrs, &it.ident, None),
            Item::Enum(it) => self.take(&it.vis, &it.attrs, &it.ident, None),
            Item::Trait(it) => self.take(&it.vis, &it.attrs, &it.ident, None),
            Item::Type(it) => self.take(&it.vis, &it.attrs, &it.ident, None),
            Item::Fn(it) => self.take(&it.vis, &it.attrs, &it.sig.ident, None),
            _ => {}
        }
    }

    fn take(
        &mut self,
        vis: &Visibility,
        attributes: &[Attribute],
        name: &syn::Ident,
        of: Option<String>,
    ) {
        if is_pub(vis) && !is_hidden(attributes) {
            self.items.push(Public {
                name: name.to_string(),
                of,
                documentation: documentation(attributes),
            });
        }
    }

    fn show(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.show(&path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.show(tree)),
            UseTree::Name(name) => _ = self.shows.insert(name.ident.to_string()),
            UseTree::Rename(name) => _ = self.shows.insert(name.ident.to_string()),
            _ => {}
        }
    }
}

impl Public {
    /// The item that has a page of its own in documentation.
    fn main(&self) -> &str {
        self.of.as_ref().unwrap_or(&self.name)
    }

    /// The last name of the link in "See [`Type::method`]", which points to the item's examples.
    fn points_to(&self) -> Option<&str> {
        let (_, examples) = self.documentation.split_once("# Examples")?;
        let (_, link) = examples.split_once("See [`")?;
        let (path, _) = link.split_once("`]")?;
        path.rsplit("::").next()
    }

    fn full_name(&self) -> String {
        let of = self.of.iter().map(|of| format!("{of}::"));
        of.chain([self.name.clone()]).collect()
    }
}

fn is_pub(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

/// Whether an item is hidden, or exists only in tests.
fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else {
            return false;
        };
        let words = list.tokens.to_string();
        list.path.is_ident("doc") && words == "hidden"
            || list.path.is_ident("cfg") && has_word(&words, "test") && !words.contains("not (test")
    })
}

/// The text of `#[name = "text"]`.
fn text_of(attribute: &Attribute, name: &str) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    match &pair.value {
        syn::Expr::Lit(it) if pair.path.is_ident(name) => match &it.lit {
            syn::Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|it| text_of(it, "doc"));
    lines.map(|line| line + "\n").collect()
}

/// The blocks of code that the compiler sees.
fn code(documentation: &str) -> String {
    let mut code = String::new();
    let (mut is_in_block, mut is_rust) = (false, false);
    for line in documentation.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            is_in_block = !is_in_block;
            is_rust = is_in_block && !NO_RUST.contains(&language);
        } else if is_rust {
            code.push_str(line);
            code.push('\n');
        }
    }
    code
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| c != '_' && !c.is_alphanumeric())
        .any(|it| it == word)
}

#[test]
fn every_public_item_has_an_example() {
    for name in ["disruptor-mp", "myelon"] {
        let scan = Scan::of_crate(name);
        let (count, missing) = (scan.items().len(), scan.missing());
        assert!(
            missing.is_empty(),
            "{name}: no example of\n{}",
            missing.join("\n")
        );
        assert!(count >= ITEMS_MIN, "{name}: {count} items");
    }
}

/// The items without an example in a crate with this source.
fn missing_in(source: &str) -> Vec<String> {
    let file = syn::parse_file(source).expect("it compiles");
    let place = Place {
        beside: PathBuf::new(),
        below: PathBuf::new(),
    };
    let mut scan = Scan::default();
    let module = Module {
        documentation: documentation(&file.attrs),
        ..Module::root()
    };
    scan.add(module, &file.items, &place);
    scan.missing()
}

const SAMPLE: &str = r#"
//! ```
//! let horn = Horn; // a car's
//! ```
pub use brakes::Brake;
/// See [`Wheel::turn`], which is text and no example.
pub struct Horn;
/// ```
/// Wheel.turn(1); // its Hub turns, too
/// ```
pub struct Wheel;
impl Wheel {
    pub fn turn(&self, degrees: i32) {}
    pub(crate) fn wear(&self) {}
    /// ```
    /// Wheel.blow(2);
    /// ```
    pub fn blow(&self, bar: u32) {}
}
/// ```
/// Wheel.spin(3);
/// ```
impl Wheel {
    pub fn spin(&self, times: u32) {}
    fn stop(&self) {}
}
impl Drop for Horn {
    fn drop(&mut self) {}
}
/// # Examples
///
/// See [`Wheel::blow`].
pub fn blow() {}
/// # Examples
///
/// See [`Wheel`].
pub struct Hub;
impl Hub {
    pub fn turn(&self) {}
}
mod brakes {
    /// ```
    /// let brake = Brake;
    /// ```
    pub struct Brake;
    pub struct Pad;
}
#[doc(hidden)]
pub fn internal() {}
pub mod gears {
    //! ```
    //! shift();
    //! ```
    pub fn shift() {}
}
"#;

/// Negative control: each change removes an example, and the item must be named.
#[test]
fn control_items_without_an_example() {
    assert_eq!(missing_in(SAMPLE), [""; 0]);
    for (from, to, found) in [
        ("let horn = Horn;", "let horn = Honk;", "Horn"),
        ("let horn = Horn;", "Wheel.wear();", "Horn"),
        ("//! ```\n//! let horn", "//! ```text\n//! let horn", "Horn"),
        (
            "/// Wheel.turn(1);",
            "/// Wheel.returned(1);",
            "Wheel::turn Hub::turn",
        ),
        ("pub(crate) fn wear", "pub fn wear", "Wheel::wear"),
        ("Wheel.turn(1)", "Wheel.wear(1)", "Wheel::turn Hub::turn"),
        ("its Hub", "it", "Hub"),
        ("Wheel.blow(2)", "Wheel.inflate(2)", "blow"),
        ("Wheel.spin(3)", "Wheel.stop()", "Wheel::spin"),
        ("See [`Wheel::blow`]", "See [`Wheel::turn`]", "blow"),
        ("# Examples", "# See also", "blow Hub Hub::turn"),
        ("use brakes::Brake;", "use brakes::{Brake, Pad};", "Pad"),
        ("mod brakes", "pub mod brakes", "Pad"),
        ("#[doc(hidden)]\n", "", "internal"),
        ("//! shift();", "//! gear();", "shift"),
    ] {
        let changed = SAMPLE.replace(from, to);
        assert_ne!(changed, SAMPLE, "{from}");
        assert_eq!(missing_in(&changed).join(" "), found, "{from} -> {to}");
    }
}
