//! `array.array`: numbers or characters of one machine type, as little-endian bytes.

use super::InvalidValue;

/// A Python `array.array`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Array {
    code: TypeCode,
    item_bytes: usize,
    bytes: Vec<u8>,
}

impl Array {
    /// An array from its little-endian bytes. The size of an item follows from the type code but for `l`, `L`
    /// and `u`, which differ between machines.
    ///
    /// # Errors
    ///
    /// When the code has no items of that size, the bytes are no whole number of items, or a `w` is no code point.
    pub fn new(code: TypeCode, item_bytes: usize, bytes: Vec<u8>) -> Result<Self, InvalidValue> {
        let array = Self {
            code,
            item_bytes,
            bytes,
        };
        let is_whole =
            code.item_sizes().contains(&item_bytes) && array.bytes.len().is_multiple_of(item_bytes);
        let is_text = |item| match item {
            ArrayItem::CodePoint(point) => point <= u32::from(char::MAX),
            _ => true,
        };
        if is_whole && (code != TypeCode::CodePoint || array.items().all(is_text)) {
            Ok(array)
        } else {
            Err(InvalidValue("array"))
        }
    }

    /// `array("d", items)`.
    pub fn from_f64(items: &[f64]) -> Self {
        let bytes = items.iter().flat_map(|item| item.to_le_bytes()).collect();
        Self {
            code: TypeCode::F64,
            item_bytes: 8,
            bytes,
        }
    }

    /// `array("q", items)`.
    pub fn from_i64(items: &[i64]) -> Self {
        let bytes = items.iter().flat_map(|item| item.to_le_bytes()).collect();
        Self {
            code: TypeCode::I64,
            item_bytes: 8,
            bytes,
        }
    }

    /// The type code.
    pub fn code(&self) -> TypeCode {
        self.code
    }

    /// Bytes of an item.
    pub fn item_bytes(&self) -> usize {
        self.item_bytes
    }

    /// The little-endian bytes of all items.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.item_bytes
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The items one by one.
    pub fn items(&self) -> impl Iterator<Item = ArrayItem> + '_ {
        self.bytes.chunks_exact(self.item_bytes).map(|item| {
            let mut wide = [0; 8];
            wide[..item.len()].copy_from_slice(item);
            let unsigned = u64::from_le_bytes(wide);
            let unused_bits = u64::BITS - 8 * item.len() as u32;
            match self.code {
                TypeCode::F32 => ArrayItem::Float(f32::from_bits(unsigned as u32).into()),
                TypeCode::F64 => ArrayItem::Float(f64::from_bits(unsigned)),
                TypeCode::CodeUnit | TypeCode::CodePoint => ArrayItem::CodePoint(unsigned as u32),
                code if code.is_signed() => {
                    ArrayItem::Signed((unsigned << unused_bits) as i64 >> unused_bits)
                }
                _ => ArrayItem::Unsigned(unsigned),
            }
        })
    }
}

/// An item of an [`Array`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ArrayItem {
    /// Of `b`, `h`, `i`, `l`, `q`.
    Signed(i64),
    /// Of `B`, `H`, `I`, `L`, `Q`.
    Unsigned(u64),
    /// Of `f`, `d`.
    Float(f64),
    /// Of `u`, `w`.
    CodePoint(u32),
}

/// The machine type of an [`Array`]'s items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TypeCode {
    /// `b`
    I8,
    /// `B`
    U8,
    /// `h`
    I16,
    /// `H`
    U16,
    /// `i`
    I32,
    /// `I`
    U32,
    /// `q`
    I64,
    /// `Q`
    U64,
    /// `f`
    F32,
    /// `d`
    F64,
    /// `l`: C's `long`, 4 or 8 bytes.
    Long,
    /// `L`: C's `unsigned long`, 4 or 8 bytes.
    UnsignedLong,
    /// `u`: C's `wchar_t`, 2 or 4 bytes.
    CodeUnit,
    /// `w`: a code point in 4 bytes.
    CodePoint,
}

/// Code, the tag of RFC 8746 where there is one, and the possible sizes of an item.
const CODES: [(TypeCode, char, Option<u64>, &[usize]); 14] = [
    (TypeCode::I8, 'b', Some(72), &[1]),
    (TypeCode::U8, 'B', Some(64), &[1]),
    (TypeCode::I16, 'h', Some(77), &[2]),
    (TypeCode::U16, 'H', Some(69), &[2]),
    (TypeCode::I32, 'i', Some(78), &[4]),
    (TypeCode::U32, 'I', Some(70), &[4]),
    (TypeCode::I64, 'q', Some(79), &[8]),
    (TypeCode::U64, 'Q', Some(71), &[8]),
    (TypeCode::F32, 'f', Some(85), &[4]),
    (TypeCode::F64, 'd', Some(86), &[8]),
    (TypeCode::Long, 'l', None, &[4, 8]),
    (TypeCode::UnsignedLong, 'L', None, &[4, 8]),
    (TypeCode::CodeUnit, 'u', None, &[2, 4]),
    (TypeCode::CodePoint, 'w', None, &[4]),
];

impl TypeCode {
    /// The letter that Python writes for it.
    pub const fn letter(self) -> char {
        CODES[self as usize].1
    }

    /// The code of a letter.
    pub fn from_letter(letter: &str) -> Option<Self> {
        let mut letters = letter.chars();
        let (first, None) = (letters.next()?, letters.next()) else {
            return None;
        };
        CODES.iter().find(|row| row.1 == first).map(|row| row.0)
    }

    /// The sizes that an item can have, in bytes.
    pub const fn item_sizes(self) -> &'static [usize] {
        CODES[self as usize].3
    }

    pub(crate) const fn tag(self) -> Option<u64> {
        CODES[self as usize].2
    }

    pub(crate) fn from_tag(tag: u64) -> Option<Self> {
        CODES.iter().find(|row| row.2 == Some(tag)).map(|row| row.0)
    }

    const fn is_signed(self) -> bool {
        matches!(
            self,
            Self::I8 | Self::I16 | Self::I32 | Self::I64 | Self::Long
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        for (index, row) in CODES.iter().enumerate() {
            assert_eq!(row.0 as usize, index);
            assert_eq!(TypeCode::from_letter(&row.1.to_string()), Some(row.0));
            assert_eq!(row.2.and_then(TypeCode::from_tag), row.2.map(|_| row.0));
        }
        assert_eq!(TypeCode::from_letter("dd"), None);
        assert_eq!(TypeCode::from_letter(""), None);
    }

    #[test]
    fn items_have_their_sign_and_size() {
        let items = |code: TypeCode, size, bytes: &[u8]| {
            Array::new(code, size, bytes.to_vec())
                .unwrap()
                .items()
                .collect::<Vec<_>>()
        };
        assert_eq!(items(TypeCode::I8, 1, &[0xff]), [ArrayItem::Signed(-1)]);
        assert_eq!(items(TypeCode::U8, 1, &[0xff]), [ArrayItem::Unsigned(255)]);
        assert_eq!(
            items(TypeCode::Long, 4, &[0, 0, 0, 0x80]),
            [ArrayItem::Signed(i32::MIN.into())]
        );
        assert_eq!(
            items(TypeCode::F32, 4, &1.5f32.to_le_bytes()),
            [ArrayItem::Float(1.5)]
        );
        let array = Array::from_i64(&[i64::MIN, 7]);
        assert_eq!(array.len(), 2);
        assert_eq!(array.items().nth(1), Some(ArrayItem::Signed(7)));
        assert_eq!(
            Array::from_f64(&[0.5]).items().next(),
            Some(ArrayItem::Float(0.5))
        );
    }

    #[test]
    fn sizes_are_checked() {
        assert!(Array::new(TypeCode::I32, 4, vec![0; 8]).is_ok());
        assert!(Array::new(TypeCode::I32, 4, vec![0; 7]).is_err());
        assert!(Array::new(TypeCode::I32, 8, vec![0; 8]).is_err());
        assert!(Array::new(TypeCode::I32, 0, vec![]).is_err());
        assert!(Array::new(TypeCode::CodePoint, 4, 0x10_ffffu32.to_le_bytes().to_vec()).is_ok());
        assert!(Array::new(TypeCode::CodePoint, 4, 0x11_0000u32.to_le_bytes().to_vec()).is_err());
    }
}
