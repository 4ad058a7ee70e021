//! What this process may do to the firewall, passed on to nft and iptables, which it starts.

use rustix::thread::{
    CapabilitySet, capabilities, capability_is_in_ambient_set, configure_capability_in_ambient_set, set_capabilities,
};

/// The firewall, and for iptables the raw socket by which it asks for a set's number.
const OURS: [CapabilitySet; 2] = [CapabilitySet::NET_ADMIN, CapabilitySet::NET_RAW];

/// Makes permitted capabilities effective and ambient, so that children have them too. In a container a
/// program that is not root's has them from its file alone: `setcap cap_net_admin+p`. (With `+ep` it could
/// not be started where they are withheld, and a dry run needs none.)
///
/// # Errors
/// The kernel refuses, as it does under some seccomp profiles.
pub fn pass_on() -> Result<(), rustix::io::Errno> {
    for capability in OURS {
        let mut sets = capabilities(None)?;
        if !sets.permitted.contains(capability) || capability_is_in_ambient_set(capability)? {
            continue;
        }
        sets.effective |= capability;
        sets.inheritable |= capability;
        set_capabilities(None, sets)?;
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}
