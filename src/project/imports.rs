//! The modules keep to the table of docs/architecture.md, and there is no circle between files.
//!
//! A file that uses what its parent module declares makes no circle with it: that is how Rust's modules are
//! built. Re-exports are followed to the file that declares the name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{
    Attribute, Ident, Item, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

/// The path of a module: `["ledger", "store"]`.
type Module = Vec<String>;

/// What one file says.
#[derive(Default)]
struct Facts {
    /// Names that it gives away under its own: by name, the path.
    exports: BTreeMap<String, Vec<String>>,
    /// Modules all of whose names it gives away.
    globs: Vec<Vec<String>>,
    declared: BTreeSet<String>,
    /// Modules below it that are only there for tests.
    of_tests: BTreeSet<String>,
    paths: BTreeSet<Vec<String>>,
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|own| {
        own.path().is_ident("test")
            || own.path().is_ident("cfg")
                && own.parse_args::<Ident>().is_ok_and(|own| own == "test")
    })
}

fn name_of(item: &Item) -> Option<&Ident> {
    match item {
        Item::Const(own) => Some(&own.ident),
        Item::Enum(own) => Some(&own.ident),
        Item::Fn(own) => Some(&own.sig.ident),
        Item::Static(own) => Some(&own.ident),
        Item::Struct(own) => Some(&own.ident),
        Item::Trait(own) => Some(&own.ident),
        Item::Type(own) => Some(&own.ident),
        _ => None,
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(own) => &own.attrs,
        Item::Enum(own) => &own.attrs,
        Item::Fn(own) => &own.attrs,
        Item::Impl(own) => &own.attrs,
        Item::Mod(own) => &own.attrs,
        Item::Static(own) => &own.attrs,
        Item::Struct(own) => &own.attrs,
        Item::Trait(own) => &own.attrs,
        Item::Type(own) => &own.attrs,
        Item::Use(own) => &own.attrs,
        _ => &[],
    }
}

/// Every path of a tree of imports, with the name that it gets here; `*` for all of a module.
fn expand(tree: &UseTree, before: &[String], each: &mut dyn FnMut(&str, Vec<String>)) {
    let with = |name: &Ident| {
        let mut path = before.to_vec();
        path.push(name.to_string());
        path
    };
    match tree {
        UseTree::Path(own) => expand(&own.tree, &with(&own.ident), each),
        UseTree::Name(own) if own.ident == "self" => {
            each(before.last().map_or("", String::as_str), before.to_vec());
        }
        UseTree::Name(own) => each(&own.ident.to_string(), with(&own.ident)),
        UseTree::Rename(own) => each(&own.rename.to_string(), with(&own.ident)),
        UseTree::Glob(_) => each("*", before.to_vec()),
        UseTree::Group(own) => own.items.iter().for_each(|own| expand(own, before, each)),
    }
}

impl<'ast> Visit<'ast> for Facts {
    fn visit_item(&mut self, item: &'ast Item) {
        if is_of_tests(attributes(item)) {
            if let Item::Mod(own) = item {
                self.of_tests.insert(own.ident.to_string());
            }
            return;
        }
        if let Some(name) = name_of(item) {
            self.declared.insert(name.to_string());
        }
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let is_export = !matches!(item.vis, Visibility::Inherited);
        expand(&item.tree, &[], &mut |name, path| match name {
            _ if !is_export => {
                self.paths.insert(path);
            }
            "*" => self.globs.push(path),
            name => {
                self.exports.insert(name.to_owned(), path);
            }
        });
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            let segments = path.segments.iter().map(|own| own.ident.to_string());
            self.paths.insert(segments.collect());
        }
        visit::visit_path(self, path);
    }
}

/// All files of the product.
struct Project(BTreeMap<Module, Facts>);

impl Project {
    fn read() -> Project {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let pattern = format!("{}/**/*.rs", root.display());
        let mut files = BTreeMap::new();
        for path in glob::glob(&pattern).unwrap().flatten() {
            let text = fs::read_to_string(&path).unwrap();
            let parsed = syn::parse_file(&text).unwrap();
            let mut facts = Facts::default();
            facts.visit_file(&parsed);
            let name = path.strip_prefix(&root).unwrap().with_extension("");
            let parts = name.iter().map(|own| own.to_string_lossy().into_owned());
            let mut module: Module = parts.collect();
            if module.last().is_some_and(|own| own == "mod") {
                module.pop();
            }
            if module == ["lib"] {
                module.clear();
            }
            files.insert(module, facts);
        }
        files.remove(&vec!["main".to_owned()]);
        let of_tests: Vec<Module> = files
            .iter()
            .flat_map(|(module, facts)| {
                let below = |name: &String| [module.clone(), vec![name.clone()]].concat();
                facts.of_tests.iter().map(below)
            })
            .collect();
        files.retain(|module, _| !of_tests.iter().any(|own| module.starts_with(own)));
        Project(files)
    }

    /// A path as seen from the root; `None`: it is of another crate, or of the language.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let (_, parent) = module.split_last()?;
                let mut rest = rest;
                let mut base = parent.to_vec();
                while let Some(("super", more)) =
                    rest.split_first().map(|own| (own.0.as_str(), own.1))
                {
                    base.pop();
                    rest = more;
                }
                Some([base.as_slice(), rest].concat())
            }
            _ => {
                let below = [module.as_slice(), path].concat();
                let child = &below[..=module.len()];
                self.0.contains_key(child).then_some(below)
            }
        }
    }

    /// The file that declares what a path names.
    fn resolve(&self, path: &[String], depth: usize) -> Option<Module> {
        let length = (0..=path.len())
            .rev()
            .find(|own| self.0.contains_key(&path[..*own]))?;
        let module: Module = path[..length].to_vec();
        let facts = &self.0[&module];
        let Some((name, _)) = path[length..].split_first() else {
            return Some(module);
        };
        if depth > 0 && !facts.declared.contains(name) {
            let mut exports = facts
                .exports
                .get(name)
                .into_iter()
                .cloned()
                .collect::<Vec<_>>();
            exports.extend(
                facts
                    .globs
                    .iter()
                    .map(|own| [own.as_slice(), std::slice::from_ref(name)].concat()),
            );
            for export in exports {
                if let Some(export) = self.absolute(&module, &export)
                    && let Some(found) = self.resolve(&export, depth - 1)
                    && (found == export || self.0[&found].declared.contains(name))
                {
                    return Some(found);
                }
            }
        }
        Some(module)
    }

    /// Each file with the files that it uses.
    fn uses(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let of_file = |(module, facts): (&Module, &Facts)| {
            let used = facts.paths.iter().filter_map(|path| {
                let path = self.absolute(module, path)?;
                self.resolve(&path, 8)
            });
            used.filter(|own| own != module && !own.is_empty())
                .collect()
        };
        let all = self.0.iter();
        all.map(|own| (own.0, of_file(own))).collect()
    }
}

/// The rows of the table: a module, and those that it may import.
fn table() -> BTreeMap<Module, Vec<Module>> {
    let text = super::text("docs/architecture.md");
    let (_, text) = text
        .split_once("| module | may import |\n|---|---|\n")
        .unwrap();
    let module = |name: &str| -> Module {
        name.trim_matches('`')
            .split("::")
            .map(str::to_owned)
            .collect()
    };
    let mut table = BTreeMap::new();
    for line in text.lines().take_while(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches(['|', ' ']).split(" | ").collect();
        let [owners, allowed] = cells[..] else {
            panic!("{line}");
        };
        let allowed = allowed.split(", ").filter(|own| own.starts_with('`'));
        let allowed: Vec<Module> = allowed.map(module).collect();
        for owner in owners.split(", ") {
            table.insert(module(owner), allowed.clone());
        }
    }
    table
}

#[test]
fn every_import_is_one_that_the_table_allows() {
    let (project, table) = (Project::read(), table());
    assert!(project.0.len() > 150, "{}", project.0.len());
    let mut problems = BTreeSet::new();
    let mut needed: BTreeSet<(&Module, &Module)> = BTreeSet::new();
    for (module, used) in project.uses() {
        if module.is_empty() {
            continue;
        }
        let rows = table.keys().filter(|own| module.starts_with(own));
        let Some(row) = rows.max_by_key(|own| own.len()) else {
            problems.insert(format!("{} has no row", module.join("::")));
            continue;
        };
        for target in used.iter().filter(|own| !own.starts_with(row)) {
            let allowed = table[row].iter().find(|own| target.starts_with(own));
            match allowed {
                Some(allowed) => {
                    needed.insert((row, allowed));
                }
                None => {
                    let (from, to) = (module.join("::"), target.join("::"));
                    problems.insert(format!("{from} imports {to}"));
                }
            }
        }
    }
    for (row, allowed) in &table {
        for unused in allowed.iter().filter(|own| !needed.contains(&(row, own))) {
            problems.insert(format!(
                "nothing in {} imports {}: take it out of the table",
                row.join("::"),
                unused.join("::")
            ));
        }
    }
    let problems: Vec<_> = problems.into_iter().collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn there_is_no_circle_between_files() {
    let project = Project::read();
    let mut uses = project.uses();
    for (module, used) in &mut uses {
        used.retain(|own| !module.starts_with(own));
    }
    // What uses nothing that is left, and what is used by nothing that is left, is in no circle.
    loop {
        let left: BTreeSet<Module> = uses.keys().map(|own| (*own).clone()).collect();
        let used: BTreeSet<Module> = uses.values().flatten().cloned().collect();
        for targets in uses.values_mut() {
            targets.retain(|own| left.contains(own));
        }
        let before = uses.len();
        uses.retain(|module, targets| !targets.is_empty() && used.contains(*module));
        if uses.len() == before {
            break;
        }
    }
    let of_file = |(module, used): (&&Module, &BTreeSet<Module>)| {
        let used: Vec<_> = used.iter().map(|own| own.join("::")).collect();
        format!("{} uses {}", module.join("::"), used.join(", "))
    };
    let circle: Vec<_> = uses.iter().map(of_file).collect();
    assert!(circle.is_empty(), "{}", circle.join("\n"));
}
