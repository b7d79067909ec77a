package probe

import (
	"strings"
	"unicode"
)

const maxTextRunes = 200

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
