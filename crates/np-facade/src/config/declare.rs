//! The macro that turns the list of settings into types, defaults, a table to look names up in, and what puts each into
//! effect. Must never name a setting.

use super::Config;
use super::form::Raw;

/// When a new value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// After a reload, too.
    Live,
    /// When the program starts.
    Restart,
}

/// One setting, without its type.
pub(super) struct Entry {
    pub(super) table: &'static str,
    pub(super) name: &'static str,
    /// The lines of its description.
    pub(super) doc: &'static [&'static str],
    pub(super) change: Change,
    /// Takes a value over into a configuration.
    pub(super) read: fn(&mut Config, &Raw) -> Result<(), String>,
    /// The value as TOML has it.
    pub(super) write: fn(&Config) -> String,
}

impl Entry {
    /// `server.max_connections`
    pub(super) fn key(&self) -> String {
        format!("{}.{}", self.table, self.name)
    }
}

/// One table of settings.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) doc: &'static [&'static str],
}

/// Declares tables of settings. A setting is one line below its description:
/// `name: type = default, form, when a new value counts, |what it is put into, value| how;`
macro_rules! settings {
    ($(
        $(#[doc = $about:literal])+
        $table:ident: $settings:ident => $plan:ty {
            $(
                $(#[doc = $doc:literal])+
                $name:ident: $kind:ty = $default:expr, $form:expr, $change:ident, |$to:ident, $it:ident| $apply:expr;
            )*
        }
    )*) => {
        $(
            $(#[doc = $about])+
            #[derive(Debug, Clone, PartialEq)]
            #[non_exhaustive]
            pub struct $settings {
                $( $(#[doc = $doc])+ pub $name: $kind, )*
            }

            impl Default for $settings {
                fn default() -> Self {
                    Self { $( $name: $default, )* }
                }
            }

            impl $settings {
                /// Puts every setting into effect.
                #[allow(dead_code, reason = "what no plan is made of is put into effect by the program itself")]
                pub(super) fn apply(&self, plan: &mut $plan) {
                    let _ = &*plan;
                    $( {
                        let ($to, $it): (&mut $plan, &$kind) = (&mut *plan, &self.$name);
                        $apply;
                    } )*
                }
            }
        )*

        /// Every table, in the order of the sample.
        pub(super) static TABLES: &[Table] = &[
            $( Table { name: stringify!($table), doc: &[$($about),+] }, )*
        ];

        /// Every setting, in the order of the sample.
        pub(super) static ENTRIES: &[Entry] = &[
            $( $( Entry {
                table: stringify!($table),
                name: stringify!($name),
                doc: &[$($doc),+],
                change: Change::$change,
                read: |config, raw| {
                    config.$table.$name = Form::<$kind>::read(&$form, raw)?;
                    Ok(())
                },
                write: |config| Form::<$kind>::write(&$form, &config.$table.$name),
            }, )* )*
        ];
    };
}

pub(super) use settings;
