use std::ops::{Deref, DerefMut};

use crate::{Installation, Workload};

/// An agent; its data are SVID, bundle and key, its socket is that of the Workload API.
pub struct Agent {
    /// Its SPIFFE ID; empty until it has attested.
    pub id: String,
    pub(crate) installation: Installation,
}

impl Agent {
    /// A workload of this node: this process.
    pub fn workload(&self) -> Workload {
        Workload::at(&self.socket)
    }
}

impl Deref for Agent {
    type Target = Installation;

    fn deref(&self) -> &Installation {
        &self.installation
    }
}

impl DerefMut for Agent {
    fn deref_mut(&mut self) -> &mut Installation {
        &mut self.installation
    }
}
