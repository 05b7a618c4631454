//! The envelope in which kubectl sends built-in kinds.
#![no_main]

fuzz::target!(|bytes| pd_apiserver::hostile::protobuf(bytes));
