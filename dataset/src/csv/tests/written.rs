//! Quotes and encodings.

use super::*;

#[test]
fn other_encodings_are_named_with_the_way_to_utf_8() {
    let utf_16 = |big: bool, mark: &[u8]| {
        let units = "a,y,b\n1,2,3\n".encode_utf16();
        let bytes = units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() });
        [mark.to_vec(), bytes.collect()].concat()
    };
    let to_utf_8 = |encoding: &str| {
        format!("line 1 is not UTF-8: it seems to be UTF-16; convert it with iconv -f {encoding} -t UTF-8 FILE > NEW")
    };
    assert_eq!(wrong(&utf_16(false, b"\xff\xfe")), to_utf_8("UTF-16"));
    assert_eq!(wrong(&utf_16(true, b"\xfe\xff")), to_utf_8("UTF-16"));
    assert_eq!(wrong(&utf_16(false, b"")), to_utf_8("UTF-16LE"));
    assert_eq!(wrong(&utf_16(true, b"")), to_utf_8("UTF-16BE"));
    assert_eq!(
        wrong(b"a,y,b,note\n1,2,3,x\n1,2,3,Gr\xf6\xdfe\n"),
        "line 3 is not UTF-8: it seems to be latin-1; set csv.encoding: latin-1, or convert it with iconv -f ISO-8859-1 -t UTF-8 FILE > NEW"
    );
    assert_eq!(
        wrong(b"a,y,b,note\n1,2,3,\"x\n\x80 5\"\n"),
        "line 3 is not UTF-8: it seems to be windows-1252; set csv.encoding: windows-1252, or convert it with iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
    );
    assert_eq!(
        wrong(b"a,y,b\n1,2,\x81\n"),
        "line 2 is not UTF-8, and no text in Latin-1 or Windows-1252 either"
    );
    let said = |encoding: Encoding, bytes: &[u8]| {
        let Format::Csv(mut columns) = columns(Header::Checked) else {
            panic!("tables")
        };
        columns.dialect.encoding = encoding;
        columns.prepare.columns = [(
            "a".to_owned(),
            Rule {
                kind: Some(Kind::Words),
                ..Rule::default()
            },
        )]
        .into();
        let read = read(&Format::Csv(columns), TargetKind::Number, &bytes, None);
        read.map(|samples| samples.inputs.expect("inputs").names())
            .map_err(|error| error.reason)
    };
    let text = b"a,y,b\n\xfc\xe9,2,3\n\x80,2,4\n";
    assert_eq!(
        said(Encoding::Windows1252, text),
        Ok(vec!["b".to_owned(), "a=ü\u{e9}".to_owned(), "a=€".to_owned()])
    );
    assert_eq!(
        said(Encoding::Latin1, text),
        Ok(vec!["b".to_owned(), "a=\u{80}".to_owned(), "a=üé".to_owned()])
    );
    assert_eq!(
        said(Encoding::Windows1252, b"a,y,b\n\x81,2,3\n"),
        Err("line 2 has the byte 0x81, which windows-1252 has not: set csv.encoding to what the file is in, or convert it with iconv -f ENCODING \
             -t UTF-8 FILE > NEW and leave encoding out".to_owned())
    );
    assert_eq!(
        said(Encoding::Latin1, b"\xef\xbb\xbfa,y,b\n1,2,3\n"),
        Err("line 1 begins with the mark of UTF-8, and encoding is latin-1: leave encoding out".to_owned())
    );
    let marked = numbers("\u{feff}a,y,b\n1,2,3\n").expect("a mark is no matter");
    assert_eq!(marked.rows, 1);
}

#[test]
fn quotes_are_what_they_are_said_to_be() {
    let read = |quoting: Option<Quoting>, text: &str| {
        let Format::Csv(mut columns) = columns(Header::Checked) else {
            panic!("tables")
        };
        columns.dialect.quoting = quoting;
        let read = read(&Format::Csv(columns), TargetKind::Number, &text, None);
        read.map(|samples| samples.features).map_err(|error| error.reason)
    };
    let found = "'a','y','b','note'\n1,'2',3,'it''s, so'\n";
    assert_eq!(read(None, found), Ok(Features::Floats(vec![3.0, 1.0])));
    let not_found = "a,y,b,note\n1,'2',3,'x, y'\n";
    assert_eq!(
        read(None, not_found),
        Err(
            "line 2 has 5 fields, and the header has 4; if apostrophes stand around cells, set csv.quote: \"'\""
                .to_owned()
        )
    );
    assert_eq!(
        read(Some(Quoting::Character(b'\'')), not_found),
        Ok(Features::Floats(vec![3.0, 1.0]))
    );
    let inches = "note,a,y,b\n\"5,1,2,3\nx,4,5,6\n";
    let open = read(None, inches).expect_err("an open quote");
    assert!(
        open.ends_with("a quote may be open: if \" has no meaning in the file, set csv.quote: none"),
        "{open}"
    );
    assert_eq!(
        read(Some(Quoting::Absent), inches),
        Ok(Features::Floats(vec![3.0, 1.0, 6.0, 4.0]))
    );
}
