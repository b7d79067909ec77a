package probe

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxTextRunes    = 200
	maxExcerptBytes = 1 << 10
)

// cleanText makes text that may come from a target fit to be stored and shown: valid UTF-8 of at most 200 characters,
// none of them a control, a line break or an invisible character that reorders what stands around it.
func cleanText(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), 16*maxTextRunes)], "\uFFFD")
	var clean strings.Builder
	runes := 0
	for _, r := range text {
		if runes++; runes > maxTextRunes {
			break
		}
		if breaksText(r) || unicode.Is(unicode.Cf, r) {
			r = unicode.ReplacementChar
		}
		clean.WriteRune(r)
	}
	return clean.String()
}

// hideQuery takes the query of a URL out of a text: it may be a secret, and some targets echo what they are sent.
func hideQuery(text, rawURL string) string {
	_, query, found := strings.Cut(rawURL, "?")
	if !found {
		return text
	}
	return strings.ReplaceAll(text, "?"+query, "?…")
}

// cleanExcerpt makes the beginning of a body fit to be stored and shown: at most 1 KiB of it, as cleanText says, but with
// its line breaks and tabs.
func cleanExcerpt(text string) string {
	text = strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (breaksText(r) || unicode.Is(unicode.Cf, r)) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(strings.ReplaceAll(text, "\r\n", "\n"), "\uFFFD"))
	if len(text) <= maxExcerptBytes {
		return text
	}
	end := maxExcerptBytes
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}
