// SPDX-License-Identifier: GPL-2.0

//! The module: how the kernel loads and unloads ferrox.

#![forbid(unsafe_code)]

use kernel::prelude::*;

module! {
    type: Ferrox,
    name: "ferrox",
    authors: ["The ferrox developers"],
    description: "A filesystem for persistent memory",
    license: "GPL",
    alias: ["fs-ferrox"],
}

struct Ferrox;

impl kernel::Module for Ferrox {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("loaded; it registers no filesystem yet\n");
        Ok(Ferrox)
    }
}
