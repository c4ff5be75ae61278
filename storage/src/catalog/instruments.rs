//! Definitions of instruments: one JSON file each.

use bytes::Bytes;
use tradeflow_model::{Instrument, Symbol};

use super::CatalogError;
use super::key::{escape, unescape};
use super::store::Store;

/// Path of a definition.
pub(crate) fn path(symbol: &Symbol) -> String {
    format!("instruments/{}.json", escape(symbol.as_str()))
}

/// The file of a definition: pretty, fields in declared order, so that equal definitions are equal bytes.
pub(crate) fn to_json(instrument: &Instrument) -> Bytes {
    let mut text = serde_json::to_string_pretty(instrument).expect("an instrument is plain data");
    text.push('\n');
    text.into()
}

/// The definition of an instrument; `None` when there is none.
pub(crate) fn read(store: &Store, symbol: &Symbol) -> Result<Option<Instrument>, CatalogError> {
    let path = path(symbol);
    let Some((bytes, _)) = store.get(&path)? else { return Ok(None) };
    let corrupt = |why: String| CatalogError::Corrupt { path: path.clone(), why };
    let instrument: Instrument =
        serde_json::from_slice(&bytes).map_err(|e| corrupt(format!("is not an instrument: {e}")))?;
    instrument.check().map_err(|e| corrupt(e.to_string()))?;
    if instrument.symbol != *symbol {
        return Err(corrupt(format!("defines {} instead of {symbol}", instrument.symbol)));
    }
    Ok(Some(instrument))
}

/// The symbols that have a definition, sorted.
pub(crate) fn symbols(store: &Store) -> Result<Vec<Symbol>, CatalogError> {
    let listed = store.list("instruments")?;
    let mut symbols: Vec<_> =
        listed.iter().filter_map(|(path, _)| symbol_of(path.strip_prefix("instruments/")?)).collect();
    symbols.sort();
    Ok(symbols)
}

/// The symbol whose definition has this file name; `None` for any other file.
pub(crate) fn symbol_of(name: &str) -> Option<Symbol> {
    Symbol::new(unescape(name.strip_suffix(".json")?)?).ok()
}
