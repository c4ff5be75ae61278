//! Foreign files into the catalog. (Being written.)
