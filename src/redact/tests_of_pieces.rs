//! Secrets in pieces, and words that only look like one.

use super::*;

#[test]
fn what_stands_beside_a_broken_secret_is_shown() {
    register(["Sw0rdf1sh-Tr0ub4dor~9Q"]);
    for text in [
        "the key Sw0rdf+1sh-Tr+0ub4do+r~9Q is wrong",
        "the key Sw0rdf 1sh-Tr 0ub4do r~9Q is wrong",
        "the key Sw0rdf\u{a0}1sh-Tr0ub4dor\u{2003}~9Q is wrong",
        "the key Sw0rdf\u{200b}1sh-Tr0u\u{ad}b4dor~9Q is wrong",
        "the key 53773072646631 73682d 5472 30756234646f727e3951 is wrong",
        "the key KN3TA4TEMYYXG2BNKRZDA5LCGRSG64T6HFIQ is wrong",
        "the key \u{ff33}\u{ff57}\u{ff10}rdf1sh-Tr0ub4dor~9Q is wrong",
        "the key Sw0rdf1sh=2DTr0ub4dor=7E9Q is wrong",
        "the key \\123\\167\\060rdf1sh-Tr0ub4dor~9Q is wrong",
        "the key %u0053w0rdf1sh%u002DTr0ub4dor~9Q is wrong",
    ] {
        assert_eq!(masked(text), "the key *** is wrong", "{text:?}");
    }
}

#[test]
fn a_short_piece_is_removed_if_it_is_no_word() {
    register(["Qx7vK2pLm9Rt-4wZ8nB1cd", "shop-weekly-report-4711"]);
    assert_eq!(
        masked("it begins with Qx7vK2pLm ..."),
        "it begins with *** ..."
    );
    assert_eq!(masked("not Qx7vK2p"), "not Qx7vK2p");
    // Eight and more letters of a secret of words, as they stand in other texts.
    assert_eq!(masked("the shop-weekly list"), "the *** list");
    assert_eq!(masked("the weekly-r list"), "the weekly-r list");
}

#[test]
fn words_of_a_sentence_are_not_a_secret_without_its_spaces() {
    register(["wasthefault-4711-of", "atlastit", "an apple a day 4711"]);
    for text in ["it was the fault 47", "but as to the fault -4"] {
        assert_eq!(shown(text), text);
    }
    assert_eq!(shown("it was the fault -4711 -of"), "it ***");
    assert_eq!(masked("at last it works"), "at last it works");
    assert_eq!(masked("anapple aday4711"), "***");
}

#[test]
fn a_page_with_escapes_of_all_kinds_is_within_the_bound() {
    register(["a-secret-beside-a-page-4711"]);
    let line = "<a href=\"https://v.example/x?id=3Dab&amp;to=a+b%2520c%20d\">Not Found 2026 &#8211; \\u0041 \
                dGhlIGNvbm5lY3Rpb24gZmFpbGVk 53:77:30:72:64:66:31:73 request 7fa1c9a3-95f3-4f4b</a>\r\n";
    for text in [line.to_owned(), line.repeat(20)] {
        assert_eq!(masked(&text), text);
        let label = masked_label(&text);
        assert_eq!(label, None);
        let beside = format!("{text} a-secret-beside-a-page-4711");
        assert_eq!(masked(&beside), format!("{text} ***"));
    }
}
