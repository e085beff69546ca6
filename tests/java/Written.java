// SPDX-License-Identifier: Apache-2.0
import java.io.StringReader;
import java.io.StringWriter;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.transform.OutputKeys;
import javax.xml.transform.Transformer;
import javax.xml.transform.TransformerFactory;
import javax.xml.transform.dom.DOMSource;
import javax.xml.transform.stream.StreamResult;
import org.w3c.dom.Document;
import org.xml.sax.InputSource;

/** A document as Java itself writes it anew, with indentation. */
final class Written {
    private Written() {}

    static String anew(String source) throws Exception {
        InputSource input = new InputSource(new StringReader(source));
        Document document = DocumentBuilderFactory.newDefaultInstance().newDocumentBuilder().parse(input);
        Transformer writer = TransformerFactory.newDefaultInstance().newTransformer();
        writer.setOutputProperty(OutputKeys.INDENT, "yes");
        StringWriter written = new StringWriter();
        writer.transform(new DOMSource(document), new StreamResult(written));
        return written.toString();
    }
}
