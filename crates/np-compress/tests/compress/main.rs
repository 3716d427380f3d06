//! Both algorithms from the outside: what goes in comes out, what is sent, and what is refused.
#![cfg(test)]

mod decide;
mod input;
mod memory;
mod refuse;
mod reuse;
mod round_trip;
