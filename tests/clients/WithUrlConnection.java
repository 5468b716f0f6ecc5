import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.charset.StandardCharsets;

/** HttpsURLConnection, as most of the JVM's libraries end up using it: nothing of it knows of a proxy. */
public class WithUrlConnection {
    public static void main(String[] args) throws Exception {
        send(args[0] + "/get", null);
        send(args[0] + "/post", args[1].getBytes(StandardCharsets.UTF_8));
    }

    static void send(String url, byte[] body) throws Exception {
        HttpURLConnection connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
        connection.setRequestProperty("Authorization", "Bearer placeholder");
        if (body != null) {
            connection.setDoOutput(true);
            connection.getOutputStream().write(body);
        }
        try (InputStream answer = connection.getInputStream()) {
            answer.readAllBytes();
        }
        if (connection.getResponseCode() != 200) {
            throw new IllegalStateException("status " + connection.getResponseCode());
        }
    }
}
