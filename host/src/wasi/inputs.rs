//! Reads files and directories of the machine into an [`InputTree`].
