//! The program np as scripts meet it: what it prints, where, and with which exit code it ends.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod calls;
#[cfg(test)]
mod certs;
#[cfg(test)]
#[cfg(unix)]
mod cluster;
#[cfg(test)]
mod config;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod dissector;
#[cfg(test)]
mod doctor;
#[cfg(test)]
mod files;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod inspect;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod limits;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod managed;
#[cfg(test)]
mod monitoring;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod screens;
#[cfg(test)]
mod serving;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod trust;
#[cfg(test)]
mod usage;
#[cfg(test)]
mod watching;
#[cfg(test)]
mod wire;
