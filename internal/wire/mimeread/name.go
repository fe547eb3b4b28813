// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"strings"
	"unicode"
)

// nameOf returns the name of an attachment: that of the sender without a path,
// else one by its type. Subject is that of an attached message.
func (p *part) nameOf(subject string) string {
	name := p.fileName()
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	if name = cleanName(name); name != "" {
		return shorten(name)
	}
	if p.isMessage() {
		subject = cleanName(strings.NewReplacer("/", "-", `\`, "-").Replace(subject))
		if subject == "" {
			subject = "message"
		}
		return shorten(subject + ".eml")
	}
	if name, ok := typeNames[p.media.value]; ok {
		return name
	}
	main, sub, _ := strings.Cut(p.media.value, "/")
	switch main {
	case "image", "audio", "video":
		sub, _, _ = strings.Cut(strings.TrimPrefix(sub, "x-"), "+")
		return shorten(main + "." + sub)
	case "text":
		return "text.txt"
	case "multipart":
		return "parts.mime"
	}
	return "attachment"
}

// typeNames are the names of attachments without one.
var typeNames = map[string]string{
	"text/html":                        "text.html",
	"text/calendar":                    "invitation.ics",
	"text/vcard":                       "contact.vcf",
	"text/x-vcard":                     "contact.vcf",
	"text/csv":                         "table.csv",
	"text/rfc822-headers":              "headers.txt",
	"message/delivery-status":          "delivery-status.txt",
	"message/disposition-notification": "disposition.txt",
	"message/feedback-report":          "feedback-report.txt",
	"application/ms-tnef":              "winmail.dat",
	"application/vnd.ms-tnef":          "winmail.dat",
	"application/pdf":                  "document.pdf",
	"application/pgp-signature":        "signature.asc",
	"application/pgp-encrypted":        "version.txt",
	"application/pgp-keys":             "key.asc",
	"application/pkcs7-signature":      "smime.p7s",
	"application/x-pkcs7-signature":    "smime.p7s",
	"application/pkcs7-mime":           "smime.p7m",
	"application/x-pkcs7-mime":         "smime.p7m",
	"image/jpeg":                       "image.jpg",
}

// isMessage reports whether the part is an attached message.
func (p *part) isMessage() bool {
	return p.media.value == "message/rfc822" || p.media.value == "message/global"
}

// cleanName takes letters out that cannot be seen, turn the text around or mean
// something to a shell or a browser, and dots and blanks at the ends.
func cleanName(name string) string {
	name = strings.Map(func(c rune) rune {
		switch {
		case c == '\t' || c == '\n' || c == '\r':
			return ' '
		case c == unicode.ReplacementChar || !unicode.IsPrint(c):
			return -1
		case strings.ContainsRune(`<>:"|?*`, c):
			return '-'
		}
		return c
	}, name)
	return strings.Trim(name, " .")
}

// shorten cuts a name to maxNameBytes and keeps its ending.
func shorten(name string) string {
	if len(name) <= maxNameBytes {
		return name
	}
	ending := ""
	if i := strings.LastIndexByte(name, '.'); i >= 0 && len(name)-i <= 16 {
		ending = name[i:]
	}
	return string(trimRune([]byte(name[:maxNameBytes-len(ending)]))) + ending
}
