//! Go's string literals, also between slashes and bars.

/// A literal that was read.
pub(crate) struct Quoted {
    /// What it stands for.
    pub(crate) text: String,
    /// What it was quoted with.
    pub(crate) quote: char,
    /// Bytes of the literal with its quotes.
    pub(crate) length: usize,
}

/// Whether a literal may begin with this.
pub(crate) fn opens(c: char) -> bool {
    matches!(c, '"' | '/' | '|')
}

/// Reads the literal with which `input` begins.
pub(crate) fn read(input: &str) -> Result<Quoted, &'static str> {
    const OPEN: &str = "quoted literal not terminated";
    let mut chars = input.chars();
    let quote = chars.next().ok_or(OPEN)?;
    let mut bytes = Vec::new();
    loop {
        match chars.next().ok_or(OPEN)? {
            '\n' => return Err(OPEN),
            '\0' => return Err("unexpected null"),
            '\\' => escape(&mut chars, quote, &mut bytes)?,
            c if c == quote => break,
            c => push(&mut bytes, c),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| "unquoting failed: quote syntax error")?;
    Ok(Quoted { text, quote, length: input.len() - chars.as_str().len() })
}

/// What follows a backslash.
fn escape(
    chars: &mut std::str::Chars<'_>,
    quote: char,
    bytes: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let c = chars.next().ok_or("quoted literal not terminated")?;
    let byte = match c {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '0'..='7' => {
            let first = c.to_digit(8).unwrap_or_default();
            let value = digits(chars, 2, 8, first)?;
            u8::try_from(value).map_err(|_| "unquoting failed: quote syntax error")?
        }
        'x' => u8::try_from(digits(chars, 2, 16, 0)?).unwrap_or_default(),
        'u' | 'U' => {
            let value = digits(chars, if c == 'u' { 4 } else { 8 }, 16, 0)?;
            let c = char::from_u32(value).ok_or("unquoting failed: quote syntax error")?;
            push(bytes, c);
            return Ok(());
        }
        c if c == quote => {
            push(bytes, c);
            return Ok(());
        }
        _ => return Err("illegal escape sequence"),
    };
    bytes.push(byte);
    Ok(())
}

fn digits(
    chars: &mut std::str::Chars<'_>,
    count: usize,
    base: u32,
    first: u32,
) -> Result<u32, &'static str> {
    let mut value = first;
    for _ in 0..count {
        let digit = chars.next().and_then(|c| c.to_digit(base));
        let digit = digit.ok_or("illegal numeric escape sequence")?;
        // At most 8 hex digits: they just fit.
        value = value * base + digit;
    }
    Ok(value)
}

fn push(bytes: &mut Vec<u8>, c: char) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
