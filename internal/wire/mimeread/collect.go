// SPDX-License-Identifier: Apache-2.0

package mimeread

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// collector makes a [Mail] of parts.
type collector struct {
	limits

	passages   []passage
	attached   []mailflow.Attachment
	flaws      flaws
	plain, web int // bytes of the two forms
}

// passage is a [Passage] with the choice that it stands for.
type passage struct {
	choice    int
	text, web []string
}

func (c *collector) mail() *Mail {
	m := &Mail{Attachments: c.attached, Flaws: c.flaws.list}
	for _, p := range c.passages {
		m.Passages = append(m.Passages, Passage{Text: strings.Join(p.text, "\n"), HTML: strings.Join(p.web, "\n")})
	}
	return m
}

// collect goes through all parts. Errors are those of the walker.
func (c *collector) collect(w *walker) error {
	for {
		p, err := w.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.isText() {
			err = c.addText(p)
		} else {
			err = c.addAttachment(p)
		}
		if err != nil {
			return noEOF(err)
		}
	}
}

// addText adds a part of the body.
func (c *collector) addText(p *part) error {
	used := &c.plain
	if p.media.value == "text/html" {
		used = &c.web
	}
	text, cut, err := p.readText(c.text-*used, &c.flaws)
	if cut {
		c.flaws.add(flawLongText)
	}
	if err != nil || strings.TrimSpace(text) == "" {
		return err
	}
	*used += len(text)
	at := -1
	for i := range c.passages {
		if p.choice != 0 && c.passages[i].choice == p.choice {
			at = i
		}
	}
	if at < 0 {
		c.passages = append(c.passages, passage{choice: p.choice})
		at = len(c.passages) - 1
	}
	to := &c.passages[at].text
	if used == &c.web {
		to = &c.passages[at].web
	}
	*to = append(*to, text)
	return nil
}

// addAttachment counts an attachment. Its size is what Open gives.
func (c *collector) addAttachment(p *part) error {
	switch p.media.value {
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		if strings.HasPrefix(p.media.token("smime-type"), "signed") {
			c.flaws.add(flawSealed)
		} else {
			c.flaws.add(flawEncrypted)
		}
	}
	if len(c.attached) >= c.attachments {
		c.flaws.add(flawAttachments)
		return nil
	}
	content := p.decoded(&c.flaws)
	var subject string
	if p.isMessage() {
		peeker := bufio.NewReaderSize(content, maxPeek)
		head, _ := peeker.Peek(maxPeek) // an error comes again below
		subject = mailflow.ParseHeader(head).Get("Subject")
		content = peeker
	}
	// What could be read counts, also where the part breaks off.
	size, err := io.Copy(io.Discard, io.LimitReader(content, c.attachmentBytes))
	if size == c.attachmentBytes {
		if n, _ := content.Read(make([]byte, 1)); n > 0 {
			c.flaws.add(flawLongPart)
		}
	}
	c.attach(mailflow.Attachment{Name: p.nameOf(subject), Type: p.media.value, Size: size, ContentID: p.id})
	return err
}

func (c *collector) attach(a mailflow.Attachment) { c.attached = append(c.attached, a) }
