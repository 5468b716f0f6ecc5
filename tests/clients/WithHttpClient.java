import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;

/** java.net.http, the JVM's newer client: nothing of it knows of a proxy. */
public class WithHttpClient {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpRequest.Builder to = HttpRequest.newBuilder().header("Authorization", "Bearer placeholder");
        expect(client, to.copy().uri(URI.create(args[0] + "/get")).GET().build());
        expect(client, to.copy().uri(URI.create(args[0] + "/post")).POST(BodyPublishers.ofString(args[1])).build());
    }

    static void expect(HttpClient client, HttpRequest request) throws Exception {
        HttpResponse<String> response = client.send(request, BodyHandlers.ofString());
        if (response.statusCode() != 200) {
            throw new IllegalStateException("status " + response.statusCode());
        }
    }
}
