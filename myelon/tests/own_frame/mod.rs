//! Frames that a test defines itself.

/// A frame that holds `holds` bytes and reports `says` as its payload size. The functions `header` and
/// `header_mut` are called each time that the frame is asked for its header or its mutable header.
macro_rules! own_frame {
    (
        $(#[$documentation:meta])*
        struct $name:ident, holds $holds:literal, says $says:literal
        $(, header: $header:expr)? $(, header_mut: $header_mut:expr)?
    ) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, myelon::Event)]
        #[event(crate = myelon)]
        #[repr(C)]
        struct $name {
            header: [u8; myelon::transport::FRAME_HEADER_BYTES],
            payload: [u8; $holds],
        }

        impl myelon::transport::FramedTransportFrame for $name {
            const PAYLOAD_BYTES: usize = $says;

            fn header(&self) -> &[u8; myelon::transport::FRAME_HEADER_BYTES] {
                $($header();)?
                &self.header
            }
            fn header_mut(&mut self) -> &mut [u8; myelon::transport::FRAME_HEADER_BYTES] {
                $($header_mut();)?
                &mut self.header
            }
            fn payload(&self) -> &[u8] {
                &self.payload
            }
            fn payload_mut(&mut self) -> &mut [u8] {
                &mut self.payload
            }
        }
    };
}
