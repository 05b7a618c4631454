//! Continue tokens.
#![no_main]

fuzz::target!(|bytes| pd_apiserver::hostile::token(bytes));
