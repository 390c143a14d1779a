//! The dimensions of a mood as text and as chance.

/// A value of a dimension, as text.
pub trait Setting: Sized + Default + PartialEq {
    /// Reads the value.
    fn read(text: &str) -> Option<Self>;
    /// Writes it as it is read.
    fn write(&self) -> String;
    /// What can be read.
    fn values() -> String;
}

macro_rules! plain {
    ($($type:ty: $values:literal),*) => {$(
        impl Setting for $type {
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn write(&self) -> String {
                self.to_string()
            }

            fn values() -> String {
                $values.to_owned()
            }
        }
    )*};
}

plain!(bool: "true or false", u32: "a number", i32: "a number");

/// An enumeration whose first value is the usual one.
macro_rules! choice {
    ($(#[$doc:meta])* pub enum $name:ident {
        $(#[$usual_doc:meta])* $usual:ident = $usual_text:literal,
        $($(#[$value_doc:meta])* $value:ident = $text:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name {
            $(#[$usual_doc])*
            #[default]
            $usual,
            $($(#[$value_doc])* $value,)*
        }

        impl $name {
            /// The values that are not usual.
            pub const UNUSUAL: &[$name] = &[$($name::$value),*];

            /// One of them.
            fn unusual(luck: u64) -> $name {
                $crate::mood::one_of($name::UNUSUAL, luck)
            }
        }

        impl $crate::mood::Setting for $name {
            fn read(text: &str) -> Option<$name> {
                match text {
                    $usual_text => Some($name::$usual),
                    $($text => Some($name::$value),)*
                    _ => None,
                }
            }

            fn write(&self) -> String {
                match self {
                    $name::$usual => $usual_text,
                    $($name::$value => $text,)*
                }
                .to_owned()
            }

            fn values() -> String {
                [$usual_text, $($text),*].join(", ")
            }
        }
    };
}

/// The mood itself: its fields, how each is drawn, read and written.
macro_rules! mood {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $draw:expr,)*) => {
        /// How a vendor differs. See the [module](self).
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct Mood {
            /// What chance comes from.
            pub seed: u64,
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Mood {
            /// The names of the dimensions.
            pub const KEYS: &[&str] = &[$(stringify!($name)),*];

            /// Draws a mood: each dimension by itself, usual about half the time.
            pub fn from_seed(seed: u64) -> Mood {
                let mut mood = Mood { seed, ..Mood::default() };
                let mut number = 0;
                $(
                    number += 1;
                    let luck = mix(mix(seed, 0x0064_7261_7700 + number), 1);
                    if luck >> 63 == 1 {
                        mood.$name = drawn($draw, (luck >> 16) & 0xffff_ffff);
                    }
                )*
                mood
            }

            /// Each dimension and what it can be, one in a line.
            pub fn settings() -> String {
                let mut lines = String::new();
                $(
                    let values = <$type as Setting>::values();
                    lines += &format!("  {}: {values}\n", stringify!($name));
                )*
                lines
            }

            /// Sets a dimension by its name; the seed too, as `seed`.
            ///
            /// # Errors
            ///
            /// There is no such dimension, or it has no such value.
            pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
                let wrong = || format!("{key} cannot be {value:?}");
                match key {
                    "seed" => self.seed = value.parse().map_err(|_| wrong())?,
                    $(stringify!($name) => self.$name = Setting::read(value).ok_or_else(wrong)?,)*
                    _ => {
                        let known = Mood::KEYS.join(", ");
                        return Err(format!("{key} is none of seed, {known}"));
                    }
                }
                Ok(())
            }
        }

        impl std::fmt::Display for Mood {
            /// What is unusual, and the seed; `calm` if nothing is.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                if self.is_calm() {
                    return f.write_str("calm");
                }
                write!(f, "seed={}", self.seed)?;
                let calm = Mood::default();
                $(
                    if self.$name != calm.$name {
                        write!(f, " {}={}", stringify!($name), Setting::write(&self.$name))?;
                    }
                )*
                Ok(())
            }
        }
    };
}

pub(super) use {choice, mood};
