//! Patches of all types over objects of all kinds.
#![no_main]

fuzz::target!(|bytes| pd_apiserver::hostile::patch(bytes));
