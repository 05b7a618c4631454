//! Label and field selectors: read or refused, and then asked of objects.
#![no_main]

fuzz::target!(|bytes| pd_apiserver::hostile::selectors(bytes));
