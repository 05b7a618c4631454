//! Bodies as JSON and YAML, against the schema of every kind.
#![no_main]

fuzz::target!(|bytes| pd_apiserver::hostile::document(bytes));
