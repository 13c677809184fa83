//! Errors of the parser of YAML and JSON, in words of people who write study files. The parser's own words are about its options and
//! states.

use std::ops::Range;

use serde_saphyr::granit_parser::ErrorKind;
use serde_saphyr::{Error, ExternalMessageSource, Location};

use super::document::place;
use super::snippet::Remark;

const QUOTES: &str = "a text with such characters goes in quotes";
const COLUMNS: &str =
    "the fields of a mapping begin in one column, each as `name: value`; so do the items of a list, each with a `- `";
const NO_TAGS: &str = "study files have no tags, which begin with '!'";
const NO_DIRECTIVES: &str = "study files have no directives, which begin with '%'";

/// What is wrong with a text, and where.
pub(super) fn explain(error: &Error, text: &str) -> Remark {
    let (title, help) = words(error);
    Remark {
        title,
        place: error.location().map_or(Range::default(), |location| {
            place(location).unwrap_or_else(|| by_line(location, text))
        }),
        help: help.map(str::to_owned),
    }
}

/// The place of a location without bytes: the parser counts lines and their characters, both from 1.
fn by_line(location: Location, text: &str) -> Range<usize> {
    let before = |number: u64| usize::try_from(number).unwrap_or(0).saturating_sub(1);
    let mut lines = text.split_inclusive('\n');
    let start: usize = lines.by_ref().take(before(location.line())).map(str::len).sum();
    let line = lines.next().unwrap_or_default();
    let column: usize = line.chars().take(before(location.column())).map(char::len_utf8).sum();
    start + column..start + column
}

type Words = (String, Option<&'static str>);

fn said(title: &str) -> Words {
    (title.to_owned(), None)
}

fn helped(title: &str, help: &'static str) -> Words {
    (title.to_owned(), Some(help))
}

fn words(error: &Error) -> Words {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => words(error),
        Error::ExternalMessage { source, .. } => match &**source {
            ExternalMessageSource::Parser(error) => of_parser(error.kind()),
            _ => unforeseen(),
        },
        Error::DuplicateMappingKey { key, .. } => {
            let name = key.as_ref().map_or("a field".to_owned(), |key| format!("'{key}'"));
            (
                format!("{name} is given a second time in one mapping"),
                Some("leave out one of the two"),
            )
        }
        Error::Eof { .. } => said("the file ends too early"),
        Error::MultipleDocuments { .. } => helped(
            "a second document begins here, and a file has one study",
            "leave out the line `---` or `...` before it",
        ),
        Error::NonFiniteFloat { value, .. } => (format!("'{value}' is not a finite number"), None),
        Error::NullIntoString { .. }
        | Error::Unexpected { .. }
        | Error::UnexpectedContainerEndWhileReadingKeyNode { .. }
        | Error::InvalidScalar { .. }
        | Error::SerdeInvalidType { .. } => {
            helped("the name of a field must be a text", "write fields as `name: value`")
        }
        Error::UnknownAnchor { .. } => helped("no anchor of this name stands before this place", QUOTES),
        Error::RecursiveReferencesRequireWeakTypes { .. } => said("an anchor is used within itself"),
        Error::MergeValueNotMapOrSeqOfMaps { .. } | Error::MergeKeyNotAllowed { .. } => {
            said("`<<` takes the fields of another mapping, and this is none")
        }
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => said("anchors are used more often than in any study"),
        Error::Budget { .. } => said("here are more parts, or more of them within each other, than any study has"),
        Error::FoldedBlockScalarMustIndentContent { .. } | Error::IndentationError { .. } => {
            helped("this line is not indented as it must be", COLUMNS)
        }
        Error::InvalidBinaryBase64 { .. }
        | Error::BinaryNotUtf8 { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. }
        | Error::BytesNotSupportedMissingBinaryTag { .. }
        | Error::UnsupportedTag { .. }
        | Error::TaggedStructFieldName { .. }
        | Error::TaggedEnumMismatch { .. }
        | Error::UnsupportedIncludeForm { .. } => helped(NO_TAGS, QUOTES),
        _ => unforeseen(),
    }
}

fn unforeseen() -> Words {
    said("from here on this is neither YAML nor JSON")
}

#[expect(clippy::too_many_lines, reason = "a table of the parser's kinds of errors")]
fn of_parser(kind: &ErrorKind) -> Words {
    use ErrorKind as Kind;
    match kind {
        Kind::UnclosedFlowCollection { open } => (
            format!("'{open}' is not closed"),
            Some("a bracket or a comma may be missing in a line before"),
        ),
        Kind::MismatchedFlowCollectionEnd { open, close } => (format!("'{close}' does not close '{open}'"), None),
        Kind::MisplacedFlowCollectionEnd => said("this bracket closes none"),
        Kind::UnexpectedEofFlowSequence
        | Kind::UnexpectedEofFlowMapping
        | Kind::UnexpectedEofImplicitFlowMapping
        | Kind::UnexpectedEofBlockSequence
        | Kind::UnexpectedEofBlockMapping
        | Kind::UnexpectedEof => helped("the file ends too early", "a bracket or a quote may not be closed"),
        Kind::ExpectedFlowMappingSeparator => said("a ',' or '}' is missing before this"),
        Kind::ExpectedFlowSequenceSeparator => said("a ',' or ']' is missing before this"),
        Kind::BlockEntryInFlowCollection => helped(
            "'- ' begins an item of a list in lines, and this is within brackets",
            "a bracket may not be closed in a line before; items within brackets have commas between them",
        ),
        Kind::ExpectedBlockMappingKey
        | Kind::ExpectedBlockSequenceEntry
        | Kind::BlockSequenceEntryNotAllowed
        | Kind::InvalidIndentation
        | Kind::InvalidFlowScalarIndent
        | Kind::InvalidQuotedScalarIndent
        | Kind::MappingKeyNotAllowed
        | Kind::ExpectedDocumentStart
        | Kind::InvalidDocumentEnd => helped("this does not fit what stands before it", COLUMNS),
        Kind::SimpleKeyExpected | Kind::InvalidSimpleKey => helped("a ':' is missing after this name", COLUMNS),
        Kind::MappingValueNotAllowed
        | Kind::InvalidColonPlacement
        | Kind::InvalidMappingValueWhitespace
        | Kind::FlowMappingValueAdjacentCollection => helped(
            "a ':' cannot stand here",
            "a text with ': ' in it goes in quotes, and the fields of a mapping begin in one column",
        ),
        Kind::ExpectedNodeContent => said("a value is missing here"),
        Kind::TabNotAllowed
        | Kind::TabInBlockIndentation
        | Kind::TabInIndentation
        | Kind::TabInPlainScalar
        | Kind::TabAtBlockScalarStart => helped("a tab cannot stand here", "indent by spaces"),
        Kind::InvalidBlockEntryWhitespace | Kind::ExpectedWhitespace => helped(
            "a space is missing here",
            "an item of a list begins with `- `, with a space",
        ),
        Kind::CommentNotSeparated | Kind::CommentInterceptedScalar => helped(
            "a comment cannot begin here",
            "a comment has a space before its '#'; a text with a '#' in it goes in quotes",
        ),
        Kind::UnclosedQuotedScalar | Kind::DocumentIndicatorInQuotedScalar => said("this quote is not closed"),
        Kind::InvalidTrailingSingleQuotedScalar | Kind::InvalidTrailingDoubleQuotedScalar => helped(
            "after a closing quote, nothing may follow in its value",
            "a quote within single quotes is written twice: 'it''s'",
        ),
        Kind::UnknownQuotedScalarEscape
        | Kind::InvalidQuotedScalarHexEscape
        | Kind::InvalidLowSurrogateHexEscape
        | Kind::InvalidLowSurrogate
        | Kind::MissingLowSurrogate
        | Kind::UnpairedLowSurrogate
        | Kind::InvalidUnicodeEscape => helped(
            "within double quotes a '\\' begins an escape, and this is none",
            "within single quotes a '\\' is itself",
        ),
        Kind::UnexpectedCharacter { character } => (format!("a value cannot begin with '{character}'"), Some(QUOTES)),
        Kind::PlainScalarStartsWithDashFlowIndicator | Kind::UnexpectedEndOfPlainScalar => {
            helped("a value cannot begin like this", QUOTES)
        }
        Kind::MissingAnchorOrAliasName => helped("'&' and '*' need a name right after them", QUOTES),
        Kind::UnknownAnchor | Kind::AnchorCountOverflow => {
            helped("no anchor of this name stands before this place", QUOTES)
        }
        Kind::ExpectedTagBang
        | Kind::ExpectedTagDirectiveBang
        | Kind::InvalidGlobalTagCharacter
        | Kind::UndeclaredTagHandle
        | Kind::InvalidTagTerminator
        | Kind::MissingTagUri
        | Kind::UnclosedVerbatimTag
        | Kind::InvalidTagEscape
        | Kind::InvalidTagUtf8LeadingByte
        | Kind::InvalidTagUtf8TrailingByte
        | Kind::InvalidTagUtf8 => helped(NO_TAGS, QUOTES),
        Kind::DuplicateVersionDirective
        | Kind::UnsupportedYamlMajorVersion
        | Kind::DuplicateTagDirective
        | Kind::MissingDocumentEndBeforeDirective
        | Kind::InvalidDirectiveTerminator
        | Kind::DirectiveDisallowed
        | Kind::MissingYamlVersionSeparator
        | Kind::MissingDirectiveName
        | Kind::InvalidDirectiveName
        | Kind::DirectiveByteLimitExceeded { .. }
        | Kind::TooManyReservedDirectiveParams { .. }
        | Kind::YamlVersionTooLong
        | Kind::MissingYamlVersion
        | Kind::InvalidTagDirectiveTerminator => helped(NO_DIRECTIVES, QUOTES),
        Kind::ZeroBlockScalarIndent | Kind::InvalidBlockScalarHeader | Kind::InvalidBlockScalarIndent => {
            helped("'|' and '>' begin a text of several lines, and this is none", QUOTES)
        }
        Kind::RecursionLimitExceeded => said("here is more within each other than any study has"),
        Kind::TooManyComments => said("here are more lines of comments than can be read at once"),
        _ => unforeseen(),
    }
}
