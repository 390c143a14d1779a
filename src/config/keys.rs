//! What a key of the configuration is: in which mapping it stands, and what it holds.

/// A mapping of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Section {
    Root,
    Server,
    Store,
    Collection,
    Limits,
    Otlp,
    Tls,
    Provider,
    RateLimit,
    Credentials,
    Application,
    Messages,
    Message,
    HttpList,
    PerMessage,
}

impl Section {
    /// All sections, in the order of the documentation.
    pub(super) const ALL: [Section; 15] = [
        Section::Root,
        Section::Server,
        Section::Store,
        Section::Collection,
        Section::Limits,
        Section::Otlp,
        Section::Provider,
        Section::Credentials,
        Section::Application,
        Section::Messages,
        Section::Message,
        Section::HttpList,
        Section::PerMessage,
        Section::RateLimit,
        Section::Tls,
    ];

    /// How the documentation calls it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Section::Root => "The file",
            Section::Server => "`server`",
            Section::Store => "`store`",
            Section::Collection => "`collection`",
            Section::Limits => "`limits`",
            Section::Otlp => "`otlp`",
            Section::Tls => "`tls`, of a provider and of `otlp`",
            Section::Provider => "A provider: an entry of `providers`, and `provider_defaults`",
            Section::RateLimit => "`rate_limit` of a provider",
            Section::Credentials => "`credentials` of a provider",
            Section::Application => "An entry of `applications`",
            Section::Messages => "`messages` of a provider",
            Section::Message => {
                "A message: an entry of `messages.static`, of a file or of an HTTP list"
            }
            Section::HttpList => "An entry of `messages.http`",
            Section::PerMessage => "`per_message` of a provider",
        }
    }
}

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Text,
    /// Never shown, and to be had from a file too.
    Secret,
    Duration,
    Count,
    Rate,
    Truth,
    Time,
    Path,
    Url,
    /// One of these words.
    Word(&'static [&'static str]),
    /// The name of a vendor.
    Vendor,
    /// A mapping with its own keys.
    Mapping(Section),
    /// A mapping whose keys the user chooses, or the data sets.
    Names,
    List,
}

/// One key.
#[derive(Clone, Copy)]
pub(super) struct Key {
    pub(super) section: Section,
    pub(super) name: &'static str,
    pub(super) holds: Holds,
    /// As it would be written; empty: none, or by another rule that the text tells.
    pub(super) default: &'static str,
    pub(super) text: &'static str,
}
