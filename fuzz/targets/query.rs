//! Paths and query strings.
#![no_main]

fuzz::target!(|bytes| pd_apiserver::hostile::query(bytes));
